"""Every threshold and every list of labels of the rules; where CloudWatch has the same alarm, its
threshold is the default of `neuron_exporter.generate.alarms.rules`."""

from __future__ import annotations

JOBS = ".*neuron.*"
"""Jobs that may scrape exporters, a regular expression: `neuron`, `neuron-exporter`, and the
Prometheus Operator's NAMESPACE/neuron-exporter."""

KNOWN = "1w"
"""How long a job in which an exporter answered is known to be the exporter's: an outage stays told
over a weekend."""

RUNBOOK = "grafana/README.md#"
"""Where the runbook is; an alert's section has its name."""

JOB = "cluster, job"
"""What the exporters of one fleet have in common. Clusters in one Prometheus may have the same jobs
and addresses; without the label all are one cluster."""

TARGET = f"{JOB}, instance"
"""What a series of one exporter has, and one of another has not."""

MACHINE = f"{TARGET}, node, instance_id, instance_type, instance_name, availability_zone"
"""Labels of a machine that rules keep. Absent ones cost nothing."""

HOLDER = "namespace, pod, container, task_family, service"
"""Labels of whoever holds a core, on Kubernetes and on ECS."""

SMOOTH = "5m"
"""The window of rates, and of readings that an alert waits for: at least four scrapes of a minute,
so that a scrape that is missed, or a restart, leaves no gap."""

SEEN_SHARE = 0.5
"""Share of the exporters below which nobody knows how the fleet is."""

SOURCE_SHARE = 0.5
"""Share of the time below which a source does not report: it is restarted again and again, or is
silent."""

CORRECTED_ECC_PER_HOUR = 60
"""Corrected errors of a device in an hour: one a minute."""

ERROR_RATIO = 0.01
"""Share of executions that end otherwise than completed."""

TIMEOUT_RATIO = 0.001
"""Share of executions that time out."""

HANG_BUSY = 0.5
"""Share of the time that a core is busy while nothing ends."""

LATENCY_TIMES = 3
"""How many times its own baseline p99 may be."""

DEVICE_MEMORY = 0.95
"""Share of a device's memory."""

IDLE = 0.05
"""Share of the time below which a core does next to nothing."""

SPOOL_BYTES = 128 * 1024 * 1024
"""Half of what `cloudwatch.spool.max_bytes` is by default."""

SPOOL_SECONDS = 24 * 3600
"""The age from which CloudWatch may take two days to show a value (PutMetricData)."""
