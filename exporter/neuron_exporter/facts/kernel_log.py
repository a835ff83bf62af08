"""Lines about hardware errors in the kernel's log.

The Neuron runtime lets the driver write them (aws-neuron/aws-neuron-driver fca19f7, ncdev_printk in
neuron_cdev.c). This is the only example that AWS has published, on one line:

    NEURON_HW_ERR=SRAM_UNCORRECTABLE_ERROR instance-id=i-0592464924bd45322
    hostname=ip-172-31-61-252 nd-id=0 nc-id=0 serial-num=19fcda00f5ff6eb9 action=TERMINATE_INSTANCE

https://awsdocs-neuron.readthedocs-hosted.com/en/latest/neuron-runtime/nrt-troubleshoot.html
"""

from __future__ import annotations

import re

PATH = "/dev/kmsg"

ERROR_TYPES = (
    "SRAM_UNCORRECTABLE_ERROR",
    "NC_UNCORRECTABLE_ERROR",
    "HBM_UNCORRECTABLE_ERROR",
    "DMA_ERROR",
)
"""Those that AWS's configuration of node-problem-detector and the EKS node monitoring agent look
for (aws-neuron-sdk, k8s-neuron-problem-detector-and-recovery-config.yml; aws/eks-node-monitoring-
agent 51af549, monitors/neuron/monitor.go). There may be others."""

LINE = re.compile(
    r"NEURON_HW_ERR=(?P<error_type>[A-Z][A-Z0-9_]{0,63})(?!\w)(?:.*?\snd-id=(?P<device>\d{1,3})(?!\w))?"
)
"""Type of the error, and index of the device if the line has it."""
