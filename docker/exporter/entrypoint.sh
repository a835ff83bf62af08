#!/bin/sh
# Starts supervisord, which keeps the exporter up, and ends as the exporter did:
#   0  it was told to stop, or came to the end of its input
#   2  its configuration is wrong, or it failed again and again as soon as it was started
#   any other status: supervisord itself failed
#
#   entrypoint.sh [FLAG ...]              supervised: neuron-exporter run FLAG ...
#   entrypoint.sh COMMAND [ARGUMENT ...]  not supervised: neuron-exporter COMMAND ARGUMENT ...
#
# It is a shell's script because it stays for as long as the container lives, and Python would take
# several times its memory. As process 1, a shell that waits also reaps the orphans of others.
set -u

case ${1--} in
    -*) ;;
    *) exec neuron-exporter "$@" ;;
esac

: "${NEURON_EXPORTER_RUN_DIRECTORY:=/run/neuron-exporter}"
: "${NEURON_EXPORTER_STARTSECS:=10}" "${NEURON_EXPORTER_STARTRETRIES:=20}"
ended=$NEURON_EXPORTER_RUN_DIRECTORY/ended
pid_file=$NEURON_EXPORTER_RUN_DIRECTORY/exporter.pid

told=
supervisord=
stop() {
    told=yes
    # The first reason counts: to stop is none to be given up. Whoever is just being started reads it.
    (set -C && echo 0 >"$ended") 2>/dev/null
    [ -z "$supervisord" ] || kill -TERM "$supervisord" 2>/dev/null
}
trap stop TERM INT # process 1 does not get what it has no handler for

parent_of() {
    while read -r key value; do
        [ "$key" != PPid: ] || echo "$value"
    done <"/proc/$1/status"
}
# To the exporter alone: supervisord would end at USR1, and start everything anew at HUP. The number
# may be that of one that has ended, or left by a former life of the container, and anybody's by now:
# a child of what supervisord has started is ours.
forward() {
    exporter=
    [ -z "$supervisord" ] || read -r exporter 2>/dev/null <"$pid_file"
    case $exporter in
        '' | *[!0-9]*) ;;
        *)
            watcher=$(parent_of "$exporter")
            [ -n "$watcher" ] && [ "$(parent_of "$watcher")" = "$supervisord" ] &&
                kill -"$1" "$exporter" && return
            ;;
    esac 2>/dev/null
    # By somebody else, since nobody may read it; and $! stays who is just being started.
    (echo "neuron-exporter: SIG$1 is ignored: the exporter is not up" >&2 &)
}
trap 'forward USR1' USR1
trap 'forward HUP' HUP

here=$(dirname "$(readlink -f "$0")")
complain() {
    echo "neuron-exporter: $*" >&2
    exit 2
}

# What a former life of the container has left on the volume is not this one's end.
mkdir -p "$NEURON_EXPORTER_RUN_DIRECTORY" 2>/dev/null &&
    rm -f "$ended" "$pid_file" "$NEURON_EXPORTER_RUN_DIRECTORY/url" 2>/dev/null &&
    [ -w "$NEURON_EXPORTER_RUN_DIRECTORY" ] ||
    complain "NEURON_EXPORTER_RUN_DIRECTORY: $NEURON_EXPORTER_RUN_DIRECTORY must be a folder that" \
        "can be written to"
for name in STARTSECS STARTRETRIES; do
    eval "value=\$NEURON_EXPORTER_$name"
    case $value in
        '' | *[!0-9]* | 0?* | ????????*)
            complain "NEURON_EXPORTER_$name: must be a whole number below 10000000 (got '$value')"
            ;;
    esac
done

# supervisord and neuron-monitor's configuration need a place for temporary files, which a read-only
# root does not have.
: "${TMPDIR:=$NEURON_EXPORTER_RUN_DIRECTORY}"

# supervisord does not pass arguments on: they travel quoted, in a variable.
NEURON_EXPORTER_ARGUMENTS=
for argument; do
    quoted=$(printf '%s' "$argument" | sed "s/'/'\\\\''/g")
    NEURON_EXPORTER_ARGUMENTS="$NEURON_EXPORTER_ARGUMENTS '$quoted'"
done
export NEURON_EXPORTER_RUN_DIRECTORY NEURON_EXPORTER_STARTSECS NEURON_EXPORTER_STARTRETRIES
export NEURON_EXPORTER_ARGUMENTS TMPDIR

# Whom the image makes root stays it; named, it is not warned of.
set --
[ "$(id -u)" != 0 ] || set -- -u root

[ -z "$told" ] || exit 0
# In a session of its own: some inits send what they get to the whole process group.
setsid supervisord -c "$here/supervisord.conf" "$@" 8>&1 9>&2 >&2 &
supervisord=$!
# Told to stop before it was known: a signal to what is just being forked may be lost.
while [ -n "$told" ] && kill -TERM "$supervisord" 2>/dev/null; do sleep 1; done

# A signal interrupts wait.
while
    wait "$supervisord"
    status=$?
    kill -0 "$supervisord" 2>/dev/null
do :; done

[ ! -e "$ended" ] || read -r status <"$ended"
[ -n "$status" ] || status=1
exit "$status"
