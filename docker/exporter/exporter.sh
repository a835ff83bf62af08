#!/bin/sh
# What supervisord starts: the exporter, and somebody who sees with which status it ends.
# supervisord tells nobody the status of what ends before startsecs, and would try a wrong
# configuration again and again.
set -u
exec >&8 2>&9 8>&- 9>&-
ended=$NEURON_EXPORTER_RUN_DIRECTORY/ended
pid_file=$NEURON_EXPORTER_RUN_DIRECTORY/exporter.pid
[ ! -e "$ended" ] || exit 0 # supervisord loses a signal to what it is just starting

eval "set -- $NEURON_EXPORTER_ARGUMENTS"
# entrypoint.sh forwards USR1 and HUP from when the number is in the file. Until the exporter answers
# them, the first waits and the second is dropped: the configuration is yet to be read, or watched.
# The inner shell may start nothing: when dash has waited, no signal is blocked any more.
setpriv --pdeathsig KILL env --block-signal=USR1 --ignore-signal=HUP \
    sh -c 'echo $$ >"$0"; exec neuron-exporter run "$@"' "$pid_file" "$@" &
exporter=$!
# supervisord signals the whole group: the exporter stops by itself, and its end is waited for. Only
# from here on: a stop that came before would be ours alone, and the exporter would never know.
trap : TERM INT
while
    wait "$exporter" 2>/dev/null # where the shell would say "Killed"; supervisord says more
    status=$?
    kill -0 "$exporter" 2>/dev/null
do :; done
rm -f "$pid_file"

case $status in
    0 | 2) # stopped, or not to be mended by another start: nothing is left to supervise
        if [ ! -e "$ended" ]; then
            (set -C && echo "$status" >"$ended") 2>/dev/null
            kill -TERM "$PPID"
        fi
        ;;
esac
exit "$status"
