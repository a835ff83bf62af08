#!/bin/sh
# Run the exporter under supervisord. Exit status:
#   0      stopped on request, or the exporter's input ended
#   2      invalid configuration, or restarts exhausted
#   other  supervisord itself failed
# With NEURON_EXPORTER_RETRY_SECONDS it ends on request only, with 0, and otherwise starts anew after
# that many seconds: some orchestrators, such as ECS Managed Daemons, replace the machine when the
# container ends.
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
: "${NEURON_EXPORTER_RETRY_SECONDS:=0}"
status_file=/dev/null # until the own directory is entered, see below

# Print a line on standard error within so many seconds, or drop it: the stream may be full and not
# read. The shell would report the killed program there as well.
print() {
    timeout --foreground -s KILL "$1" printf '%s\n' "$2" >&3
} 3>&2 2>/dev/null

stopping=
supervisord=
pause=
stop() {
    stopping=yes
    # noclobber: the first status wins, so that a stop does not overwrite a failure or vice versa.
    # run_exporter.sh and fatal_listener.sh exit at once if the file exists.
    (set -C && echo 0 >"$status_file") 2>/dev/null
    for running in $supervisord $pause; do kill -TERM "$running" 2>/dev/null; done
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
    [ -z "$pause" ] || return 0 # the signal ends the pause
    exporter=
    [ -z "$supervisord" ] || read -r exporter 2>/dev/null <exporter.pid
    case $exporter in
        '' | *[!0-9]*) ;;
        *)
            runner=$(parent_of "$exporter")
            [ -n "$runner" ] && [ "$(parent_of "$runner")" = "$supervisord" ] &&
                kill -"$1" "$exporter" && return
            ;;
    esac 2>/dev/null
    # A double fork keeps $! unchanged for the process that is just being started.
    (print 1 "neuron-exporter: SIG$1 is ignored: the exporter is not up" &)
}
trap 'forward USR1' USR1
trap 'forward HUP' HUP

self=$(readlink -f "$0")
here=$(dirname "$self")

# supervisord passes no arguments on, so they are quoted and passed in a variable.
NEURON_EXPORTER_ARGUMENTS=
for argument; do
    quoted=$(printf '%s' "$argument" | sed "s/'/'\\\\''/g")
    NEURON_EXPORTER_ARGUMENTS="$NEURON_EXPORTER_ARGUMENTS '$quoted'"
done

# Exit with a status, or start this script anew after a while or a signal.
end() {
    case $NEURON_EXPORTER_RETRY_SECONDS in
        0 | 0?* | *[!0-9]* | ????????*) exit "$1" ;; # no retries, or no valid number
    esac
    # As in the pause below: after a stop it does not matter what would have been retried.
    [ -z "$stopping" ] || exit 0
    print 1 "neuron-exporter: ended with status $1; next start in $NEURON_EXPORTER_RETRY_SECONDS s"
    supervisord=
    sleep "$NEURON_EXPORTER_RETRY_SECONDS" &
    pause=$!
    [ -n "$stopping" ] || wait "$pause" 2>/dev/null # hide the shell's "Terminated"
    kill "$pause" 2>/dev/null
    [ -z "$stopping" ] || exit 0
    cd -- "$NEURON_EXPORTER_WORKING_DIRECTORY" || exit "$1"
    eval "exec \"\$self\" $NEURON_EXPORTER_ARGUMENTS"
}
fail() {
    print 1 "neuron-exporter: $*"
    end 2
}

unset CDPATH
NEURON_EXPORTER_WORKING_DIRECTORY=$(pwd)
own=uid-$(id -u)
mkdir -p -- "$NEURON_EXPORTER_RUN_DIRECTORY" 2>/dev/null &&
    cd -P -- "$NEURON_EXPORTER_RUN_DIRECTORY" 2>/dev/null &&
    { mkdir -m 700 "$own" 2>/dev/null || [ -e "$own" ] || [ -L "$own" ]; } ||
    fail "NEURON_EXPORTER_RUN_DIRECTORY: must be a writable directory" \
        "(got '$NEURON_EXPORTER_RUN_DIRECTORY')"
# Other users may be able to write to the run directory, such as a volume. So the state is in an own
# directory, the same as the exporter's. It is entered, then checked, and from then on only reached
# as the working directory, so that links and renames do not matter. What an earlier start of the
# container left is removed.
top=$(readlink /proc/self/cwd)
[ ! -L "$own" ] && cd -P "./$own" 2>/dev/null && [ -O . ] &&
    [ "$(readlink /proc/self/cwd)" = "${top%/}/$own" ] && chmod 700 . &&
    rm -rf -- * .[!.]* ..?* ||
    fail "NEURON_EXPORTER_RUN_DIRECTORY: $own in it must be a directory of user $(id -u), not a link" \
        "(got '$NEURON_EXPORTER_RUN_DIRECTORY')"
status_file=ended
for name in STARTSECS STARTRETRIES RETRY_SECONDS; do
    eval "value=\$NEURON_EXPORTER_$name"
    case $value in
        '' | *[!0-9]* | 0?* | ????????*)
            fail "NEURON_EXPORTER_$name: must be a whole number below 10000000 (got '$value')"
            ;;
    esac
done

# supervisord and the exporter need temporary files, and the root may be read-only.
case ${TMPDIR-} in
    '' | "$NEURON_EXPORTER_RUN_DIRECTORY") TMPDIR=$NEURON_EXPORTER_RUN_DIRECTORY/$own ;;
esac

export NEURON_EXPORTER_RUN_DIRECTORY NEURON_EXPORTER_STARTSECS NEURON_EXPORTER_STARTRETRIES
export NEURON_EXPORTER_ARGUMENTS NEURON_EXPORTER_WORKING_DIRECTORY TMPDIR

# supervisord warns about running as root unless the user is named.
set --
[ "$(id -u)" != 0 ] || set -- -u root

[ -z "$stopping" ] || exit 0
# supervisord would neither restart nor stop anything while it waits for a full standard error. So it
# writes its log to a pipe, and `print` passes the lines on.
mkfifo log && exec 5<>log 6<log || fail "NEURON_EXPORTER_RUN_DIRECTORY: $own/log cannot be created"
rm log
(
    trap '' TERM INT HUP USR1 # may be sent to the whole process group
    seconds=1 dropped=0
    while IFS= read -r line; do
        if ! print "$seconds" "$line"; then
            seconds=0.1 dropped=$((dropped + 1))
        elif [ "$dropped" != 0 ]; then
            print 1 "neuron-exporter: standard error was full: lines of supervisord dropped: $dropped"
            seconds=1 dropped=0
        fi
    done
) <&6 5>&- 6<&- &
printer=$!
# In a session of its own, because some inits forward signals to the whole process group.
setsid supervisord -c "$here/supervisord.conf" "$@" 8>&1 9>&2 >&5 2>&5 5>&- 6<&- &
supervisord=$!
exec 5>&- 6<&-
# If the stop request came before the pid was known, a signal to the process that is just being
# forked may be lost: repeat it.
while [ -n "$stopping" ] && kill -TERM "$supervisord" 2>/dev/null; do sleep 1; done

# wait returns early when a signal arrives.
while
    wait "$supervisord" 2>/dev/null # hide the shell's "Killed"
    status=$?
    kill -0 "$supervisord" 2>/dev/null
do :; done
while kill -0 "$printer" 2>/dev/null; do wait "$printer"; done

[ ! -e "$status_file" ] || read -r status <"$status_file"
[ -n "$status" ] || status=1
end "$status"
