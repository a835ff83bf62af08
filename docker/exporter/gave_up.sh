#!/bin/sh
# Ends supervisord once it has given the exporter up (FATAL), instead of living on empty. It speaks
# the protocol of supervisord's event listeners as far as the first event, which is the last.
set -u
ended=$NEURON_EXPORTER_RUN_DIRECTORY/ended
[ ! -e "$ended" ] || exit 0 # supervisord loses a signal to what it is just starting
echo READY
read -r _ || exit 0
(
    set -C && echo 2 >"$ended" &&
        echo "neuron-exporter: given up: no start lasted for $NEURON_EXPORTER_STARTSECS s" \
            "(tries: $((NEURON_EXPORTER_STARTRETRIES + 1)))" >&9
) 2>/dev/null
kill -TERM "$PPID"
# Whoever ends now is started again; supervisord ends us.
read -r _
