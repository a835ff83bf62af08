#!/bin/sh
# Slurm's HealthCheckProgram: drains this node when one of its Neuron devices is at fault (see
# doctor.md). Running jobs continue. An operator resumes the node: `scontrol update NodeName=NODE
# State=RESUME`, after a repair that the doctor confirms.
#
# It always ends with status 0, because slurmd waits for that before it registers the node.

PATH=$PATH:/opt/slurm/bin # AWS ParallelCluster
doctor=${NEURON_EXPORTER:-/opt/neuron-exporter/bin/neuron-exporter}
node=${SLURMD_NODENAME:-$(hostname -s)}

line=$("$doctor" doctor --check devices)
# 0 healthy, 1 problem; 2 and others: nothing is known, which is no reason to drain. Neither is 1
# without a problem: a program that crashes may end with it.
[ $? -eq 1 ] || exit 0
case $line in "problem: "*) ;; *) exit 0 ;; esac

# A node that is already draining keeps its reason.
case $(scontrol --oneliner show node "$node" | sed -n 's/.* State=\([^ ]*\).*/\1/p') in
  *DRAIN*) ;;
  *) scontrol update NodeName="$node" State=DRAIN Reason="neuron: ${line#problem: }" ;;
esac
exit 0
