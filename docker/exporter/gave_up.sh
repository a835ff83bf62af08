#!/bin/sh
# Ends supervisord once it has given the exporter up (FATAL), instead of living on empty. It speaks
# the protocol of supervisord's event listeners as far as the first event, which is the last.
set -u
echo READY
read -r _ || exit 0
(
    set -C && echo 2 >"$NEURON_EXPORTER_RUN_DIRECTORY/ended" &&
        echo "neuron-exporter: given up: no start lasted for $NEURON_EXPORTER_STARTSECS s" \
            "(tries: $((NEURON_EXPORTER_STARTRETRIES + 1)))" >&9
) 2>/dev/null
kill -TERM "$PPID"
# Whoever ends now is started again; supervisord ends us.
read -r _
