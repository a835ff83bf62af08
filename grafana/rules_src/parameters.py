"""Windows, label lists, and the thresholds of rules that are about more than one machine's problem;
the others are in `neuron_exporter.facts.problems`.

Where a CloudWatch alarm has the same meaning, its default threshold in
`neuron_exporter.generate.alarms.rules` is equal; a test compares them.
"""

from __future__ import annotations

JOBS = ".*neuron.*"
"""Regular expression for jobs that may scrape exporters: `neuron`, `neuron-exporter`, and the
Prometheus Operator's NAMESPACE/neuron-exporter."""

JOB_MEMORY = "1w"
"""How long a job counts as a job of exporters after an exporter last answered in it. A week keeps
an outage visible over a weekend."""

JOB = "cluster, job"
"""Labels that the exporters of one fleet share. Without `cluster`, several clusters in one
Prometheus could have the same jobs and addresses and would count as one."""

TARGET = f"{JOB}, instance"
"""Labels that identify an exporter."""

MACHINE = f"{TARGET}, node, instance_id, instance_type, instance_name, availability_zone"
"""Machine labels that the rules keep. Labels that are absent have no effect."""

OWNER = "namespace, pod, container, task_family, service"
"""Labels of a core's owner, on Kubernetes and ECS."""

BATCH_JOB = "job_id, job_name"
"""Labels of the job of a scheduler, such as Slurm: the convention of `identity.process_labels`.
`job` is Prometheus' own."""

WINDOW = "5m"
"""Window of rates, and of the readings that alerts look at. It spans at least four scrapes at an
interval of a minute, so that a missed scrape or a restart leaves no gap."""

MIN_REPORTING_SHARE = 0.5
"""Share of a job's scrapes that must find a reporting exporter, below which NeuronFleetUnseen
fires."""

MIN_FAILING_SHARE = 0.9
"""Errors of a group per report, above which the group is as good as absent."""

UNNEEDED_GROUPS = "neuron_runtime_vcpu_usage|instance_info|neuron_k8s_info"
"""Regular expression for groups that no alert needs."""

TIMEOUT_RATIO = 0.001
"""Share of executions that time out."""

MIN_EXECUTIONS = 100
"""Executions in five minutes below which shares of timeouts and percentiles mean nothing."""

LATENCY_FACTOR = 3
"""Allowed multiple of the p99 latency's own baseline."""

IDLE_UTILIZATION = 0.05
"""Utilization below which an allocated core counts as idle."""

STRAGGLER_RATIO = 0.5
"""Share of the median of a job's machines below which a machine is a straggler."""

STRAGGLER_MACHINES = 3
"""Machines of a job below which a median says nothing: of two machines, either may be slow."""

STRAGGLER_UTILIZATION = 0.1
"""Median utilization of a job's machines below which the job waits as a whole."""

STRAGGLER_EXECUTIONS = 10
"""Executions that a machine would complete in five minutes at the median, below which the
difference of two machines is chance."""

SPOOL_BYTES = 128 * 1024 * 1024
"""Half of the default of `spool.max_bytes`, of CloudWatch and of OTLP."""

SPOOL_AGE_SECONDS = 24 * 3600
"""Age from which CloudWatch can take up to two days to show a value (PutMetricData)."""

CERTIFICATE_DAYS = 14
"""Days before the end of a certificate."""

MEMORY_RATIO = 0.85
"""Share of its memory limit that the exporter's control group may use."""
