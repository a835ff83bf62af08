"""PromQL fragments: label matchers that apply the dashboards' variables, and common expressions."""

from __future__ import annotations

from collections.abc import Callable

from grafana.rules_src.problems import MACHINES
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


def events(metric: str, scope: str, *more: str) -> str:
    """Return the events of each step, so that the steps add up to what happened.

    `increase` extrapolates, and over windows longer than the step counts an event several times.
    A counter that falls was reset and counts from 0. The events of an outage of up to six hours are
    in the step in which it ends.
    """
    selector = select(metric, scope, *more)
    first, peak, now = (f"{each}_over_time({selector}[$__interval])" for each in _ENDS)
    before = f"last_over_time({selector}[6h] offset $__interval)"
    return f"({now} - ({before} or {first}) >= 0 or clamp_min({peak} - {before}, 0) + {now})"


_ENDS = ("min", "max", "last")


def age(timestamp: str) -> str:
    """Return the seconds since a timestamp; no value where it is 0, which means never."""
    return f"time() - ({timestamp} > 0)"


def highest(selector: str, labels: str, value: Callable[[str], str] = lambda vector: vector) -> str:
    """Return the ten series with the highest values at the end of the time shown.

    Args:
        labels: those that identify a series.
        value: makes one series for each combination of `labels` from the selector.
    """
    last = value(f"last_over_time({selector}[$__rate_interval] @ end())")
    return f"{value(selector)} and on ({labels}) topk(10, {last})"


def utilization(scope: str) -> str:
    """Return a selector for the utilization of cores."""
    return select("neuroncore_utilization_ratio", scope)


def pad_core(vector: str) -> str:
    """Add a label `core` of three digits, so that core 10 does not sort before core 2."""
    two = f'label_replace({vector}, "core", "0$1", "neuroncore", "(..)")'
    one = f'label_replace({two}, "core", "00$1", "neuroncore", "(.)")'
    return f'label_replace({one}, "core", "$1", "neuroncore", "(...)")'


def allocated_idle(scope: str) -> str:
    """Return the number of cores that are allocated and have been idle for five minutes.

    It is 0 where no allocated core is idle, and absent where allocations are unknown.
    """
    idle = select("holder:neuroncores_allocated_idle:count5m", scope)
    allocated = select("holder:neuroncores_allocated:count", scope)
    return f"sum({idle}) or 0 * sum({allocated})"


def named(value: str, *labels: str) -> str:
    """Add the label `machine`: the instance id, or the exporter's address while it is unknown.

    Args:
        labels: those that series have beside the target's.
    """
    ids = f"max by ({TARGET}, instance_id) ({select(MACHINES, JOB)})"
    known = f"({value}) * on ({TARGET}) group_left (instance_id) {ids}"
    either = f"{known} or on ({', '.join([TARGET, *labels])}) ({value})"
    addressed = f'label_replace({either}, "machine", "$1", "instance", "(.+)")'
    return f'label_replace({addressed}, "machine", "$1", "instance_id", "(.+)")'
