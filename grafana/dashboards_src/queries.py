"""PromQL fragments: label matchers that apply the dashboards' variables, and common expressions."""

from __future__ import annotations

from neuron_exporter.facts.report_names import FAILED_STATUSES

JOB = 'cluster=~"$cluster", job=~"$job"'
FLEET = f'{JOB}, instance_type=~"$type"'
MACHINE = f'{JOB}, instance_id="$machine"'
WORKLOAD = f'{FLEET}, $by=~"$workload"'
EXPORTER = f'{JOB}, instance=~"$instance"'

TARGET = "cluster, job, instance"
"""Labels that identify an exporter. The exporter's own metrics have no machine labels."""

COMPLETED = 'status_type="completed"'
FAILED = f'status_type=~"{"|".join(FAILED_STATUSES)}"'
P99 = 'percentile="p99"'
UNCORRECTED = 'event_type=~".*_uncorrected"'
CORRECTED = 'event_type=~".*_corrected"'

MEMORY = {
    "constants": "Constants",
    "model_code": "Model code",
    "model_shared_scratchpad": "Shared scratchpad",
    "runtime_memory": "Runtime",
    "tensors": "Tensors",
}
"""Memory categories of a core: the suffix of the metric's name, and its display name."""


def select(metric: str, scope: str, *more: str) -> str:
    """Return a selector for a metric's series in a scope."""
    return f"{metric}{{{', '.join([scope, *more])}}}"


def rate(metric: str, scope: str, *more: str) -> str:
    """Return a counter's increase per second over Grafana's window, at least 4 scrape intervals."""
    return f"rate({select(metric, scope, *more)}[$__rate_interval])"


def increase(metric: str, scope: str, *more: str, window: str = "$__range") -> str:
    """Return a counter's increase, by default over the whole time shown."""
    return f"increase({select(metric, scope, *more)}[{window}])"


def utilization(scope: str) -> str:
    """Return a selector for the utilization of cores."""
    return select("neuroncore_utilization_ratio", scope)


def pad_core(vector: str, label: str = "neuroncore") -> str:
    """Add a label `core` of three digits, so that core 10 does not sort before core 2."""
    two = f'label_replace({vector}, "core", "0$1", "{label}", "(..)")'
    one = f'label_replace({two}, "core", "00$1", "{label}", "(.)")'
    return f'label_replace({one}, "core", "$1", "{label}", "(...)")'


def allocated_idle(scope: str) -> str:
    """Return 1 for each allocated core that was idle in the window, and 0 for each busy one.

    The series have the labels of the core's owner. Without known allocations there are none.
    """
    # By core only: if a core changes its owner, it has two series within the window.
    peak = f"max_over_time({utilization(scope)}[$__rate_interval])"
    busy = f"max by ({TARGET}, neuroncore) ({peak})"
    allocated = f"({select('neuroncore_allocated', scope)} == 1)"
    return f"{allocated} * on ({TARGET}, neuroncore) group_left () ({busy} == bool 0)"
