#!/bin/sh
# Started by supervisord: run the exporter and record its exit status. supervisord does not report
# the status of a program that ends before startsecs, and would retry an invalid configuration.
set -u
exec >&8 2>&9 8>&- 9>&-
status_file=ended # in the working directory, as in entrypoint.sh
[ ! -e "$status_file" ] || exit 0 # supervisord loses signals to a program that it is just starting

eval "set -- $NEURON_EXPORTER_ARGUMENTS"
directory=$NEURON_EXPORTER_WORKING_DIRECTORY
unset NEURON_EXPORTER_ARGUMENTS NEURON_EXPORTER_WORKING_DIRECTORY
# entrypoint.sh forwards USR1 and HUP as soon as the pid is in the file. Until the exporter handles
# them, USR1 stays pending, and HUP is ignored because the configuration has yet to be read. The
# inner shell must not start other programs: dash unblocks all signals after it has waited.
setpriv --pdeathsig KILL env --block-signal=USR1 --ignore-signal=HUP \
    sh -c 'echo $$ >exporter.pid; cd -- "$0" && exec neuron-exporter run "$@"' "$directory" "$@" &
exporter=$!
# supervisord signals the whole process group: the exporter stops by itself, and this script waits
# for it. Set the trap only now: an earlier stop would reach this script but not the exporter.
trap : TERM INT
while
    wait "$exporter" 2>/dev/null # hide the shell's "Killed"; supervisord logs more
    status=$?
    kill -0 "$exporter" 2>/dev/null
do :; done
rm -f exporter.pid

case $status in
    0 | 2) # stopped, or invalid configuration: another start would not help
        if [ ! -e "$status_file" ]; then
            (set -C && echo "$status" >"$status_file") 2>/dev/null
            kill -TERM "$PPID"
        fi
        ;;
esac
exit "$status"
