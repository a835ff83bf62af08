#!/bin/bash
# Plugin of node-problem-detector: prints what the exporter of this node knows to be wrong with its
# Neuron devices, as `neuron-exporter doctor --check devices` does where it can run.
# Usage: neuron_devices.sh HOST PORT. Exit status: 0 no fault, 1 fault, 2 unknown.
#
# The image of node-problem-detector has neither curl nor the exporter, but bash, which opens
# connections (/dev/tcp), and grep. A silent server is node-problem-detector's business: it ends the
# plugin at the time limit and calls the result unknown.

host=$1 port=$2
faults='device_missing|uncorrected_ecc|device_unhealthy|hardware_faults'

{ exec 3<>"/dev/tcp/$host/$port"; } 2>/dev/null || {
  echo "unknown: no exporter answers at $host:$port"
  exit 2
}
printf 'GET /api/v1/snapshot HTTP/1.0\r\nHost: %s\r\n\r\n' "$host" >&3
answer=$(grep -aoE "\"is_fresh\":true|\"reason\":\"($faults)\"[^}]*\"detail\":\"[^\"]*\"" <&3)

case $answer in
  *'"is_fresh":true'*) ;;
  *)
    echo "unknown: the exporter at $host:$port has no fresh report"
    exit 2
    ;;
esac

found=
while IFS= read -r line; do
  if [[ $line =~ \"reason\":\"([a-z_]+)\".*\"detail\":\"([^\"]*)\" ]]; then
    found+="; ${BASH_REMATCH[1]//_/ }: ${BASH_REMATCH[2]}"
  fi
done <<<"$answer"
if [[ $found ]]; then
  echo "problem: ${found:2}"
  exit 1
fi
echo "ok: the exporter has seen no fault since its start"
