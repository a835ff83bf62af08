#!/bin/sh
# Run the exporter under supervisord. Exit status:
#   0      stopped on request, or the exporter's input ended
#   2      invalid configuration, or restarts exhausted
#   other  supervisord itself failed
#
#   entrypoint.sh [FLAG ...]              supervised: neuron-exporter run FLAG ...
#   entrypoint.sh COMMAND [ARGUMENT ...]  not supervised: neuron-exporter COMMAND ARGUMENT ...
#
# A shell script, because it runs as long as the container, and Python would need several times the
# memory. As process 1, a waiting shell also reaps orphaned processes.
set -u

case ${1--} in
    -*) ;;
    *) exec neuron-exporter "$@" ;;
esac

: "${NEURON_EXPORTER_RUN_DIRECTORY:=/run/neuron-exporter}"
: "${NEURON_EXPORTER_STARTSECS:=10}" "${NEURON_EXPORTER_STARTRETRIES:=20}"
status_file=$NEURON_EXPORTER_RUN_DIRECTORY/ended
pid_file=$NEURON_EXPORTER_RUN_DIRECTORY/exporter.pid

stopping=
supervisord=
stop() {
    stopping=yes
    # noclobber: the first status wins, so that a stop does not overwrite a failure or vice versa.
    # run_exporter.sh and fatal_listener.sh exit at once if the file exists.
    (set -C && echo 0 >"$status_file") 2>/dev/null
    [ -z "$supervisord" ] || kill -TERM "$supervisord" 2>/dev/null
}
trap stop TERM INT # the kernel discards signals for which process 1 has no handler

parent_of() {
    while read -r key value; do
        [ "$key" != PPid: ] || echo "$value"
    done <"/proc/$1/status"
}
# Signal the exporter only: supervisord would exit on USR1 and restart everything on HUP. The pid
# file may be stale, from an exporter that has ended or from an earlier start of the container, and
# the pid may belong to another process by now. Accept it only if it is a grandchild of supervisord.
forward() {
    exporter=
    [ -z "$supervisord" ] || read -r exporter 2>/dev/null <"$pid_file"
    case $exporter in
        '' | *[!0-9]*) ;;
        *)
            runner=$(parent_of "$exporter")
            [ -n "$runner" ] && [ "$(parent_of "$runner")" = "$supervisord" ] &&
                kill -"$1" "$exporter" && return
            ;;
    esac 2>/dev/null
    # In a background subshell, because standard error may block; a double fork keeps $! unchanged
    # for the process that is just being started.
    (echo "neuron-exporter: SIG$1 is ignored: the exporter is not up" >&2 &)
}
trap 'forward USR1' USR1
trap 'forward HUP' HUP

here=$(dirname "$(readlink -f "$0")")
fail() {
    echo "neuron-exporter: $*" >&2
    exit 2
}

# Remove the state that an earlier start of the container left on the volume.
mkdir -p "$NEURON_EXPORTER_RUN_DIRECTORY" 2>/dev/null &&
    rm -f "$status_file" "$pid_file" "$NEURON_EXPORTER_RUN_DIRECTORY/url" 2>/dev/null &&
    [ -w "$NEURON_EXPORTER_RUN_DIRECTORY" ] ||
    fail "NEURON_EXPORTER_RUN_DIRECTORY: must be a writable directory" \
        "(got '$NEURON_EXPORTER_RUN_DIRECTORY')"
for name in STARTSECS STARTRETRIES; do
    eval "value=\$NEURON_EXPORTER_$name"
    case $value in
        '' | *[!0-9]* | 0?* | ????????*)
            fail "NEURON_EXPORTER_$name: must be a whole number below 10000000 (got '$value')"
            ;;
    esac
done

# supervisord and the exporter need temporary files, and the root may be read-only.
: "${TMPDIR:=$NEURON_EXPORTER_RUN_DIRECTORY}"

# supervisord passes no arguments on, so they are quoted and passed in a variable.
NEURON_EXPORTER_ARGUMENTS=
for argument; do
    quoted=$(printf '%s' "$argument" | sed "s/'/'\\\\''/g")
    NEURON_EXPORTER_ARGUMENTS="$NEURON_EXPORTER_ARGUMENTS '$quoted'"
done
export NEURON_EXPORTER_RUN_DIRECTORY NEURON_EXPORTER_STARTSECS NEURON_EXPORTER_STARTRETRIES
export NEURON_EXPORTER_ARGUMENTS TMPDIR

# supervisord warns about running as root unless the user is named.
set --
[ "$(id -u)" != 0 ] || set -- -u root

[ -z "$stopping" ] || exit 0
# In a session of its own, because some inits forward signals to the whole process group.
setsid supervisord -c "$here/supervisord.conf" "$@" 8>&1 9>&2 >&2 &
supervisord=$!
# If the stop request came before the pid was known, a signal to the process that is just being
# forked may be lost: repeat it.
while [ -n "$stopping" ] && kill -TERM "$supervisord" 2>/dev/null; do sleep 1; done

# wait returns early when a signal arrives.
while
    wait "$supervisord"
    status=$?
    kill -0 "$supervisord" 2>/dev/null
do :; done

[ ! -e "$status_file" ] || read -r status <"$status_file"
[ -n "$status" ] || status=1
exit "$status"
