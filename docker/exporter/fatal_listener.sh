#!/bin/sh
# supervisord event listener: stop supervisord when the exporter's state is FATAL (restarts
# exhausted), because a container without the exporter is useless. It implements the event protocol
# up to the first event, which is also the last.
set -u
status_file=ended # in the working directory, as in entrypoint.sh
[ ! -e "$status_file" ] || exit 0 # supervisord loses signals to a program that it is just starting
echo READY
read -r _ || exit 0
(
    # The message is dropped if standard error is full and not read.
    set -C && echo 2 >"$status_file" &&
        timeout 1 printf '%s %s\n' \
            "neuron-exporter: restarts exhausted: no start lasted for $NEURON_EXPORTER_STARTSECS s" \
            "(tries: $((NEURON_EXPORTER_STARTRETRIES + 1)))" >&9
) 2>/dev/null
kill -TERM "$PPID"
# Keep running: supervisord would restart a listener that exits. It stops this one.
read -r _
