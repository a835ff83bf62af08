"""Which series a dashboard asks for: the labels that its variables choose, and what recurs."""

from __future__ import annotations

JOB = 'cluster=~"$cluster", job=~"$job"'
FLEET = f'{JOB}, instance_type=~"$type"'
MACHINE = f'{JOB}, instance_id="$machine"'
WORKLOAD = f'{FLEET}, $by=~"$workload"'
EXPORTER = f'{JOB}, instance=~"$instance"'

TARGET = "cluster, job, instance"
"""The labels that tell one exporter from another: its own metrics have none of the machine."""

UNCORRECTED = 'event_type=~".*_uncorrected"'
CORRECTED = 'event_type=~".*_corrected"'

MEMORY = {
    "constants": "Constants",
    "model_code": "Model code",
    "model_shared_scratchpad": "Shared scratchpad",
    "runtime_memory": "Runtime",
    "tensors": "Tensors",
}
"""What takes up a core's memory: the end of the metric's name, and what people call it."""


def pick(metric: str, scope: str, *more: str) -> str:
    """The series of a metric that the variables choose."""
    return f"{metric}{{{', '.join([scope, *more])}}}"


def rate(metric: str, scope: str, *more: str) -> str:
    """A counter's rise a second. The window is Grafana's: at least four scrape intervals."""
    return f"rate({pick(metric, scope, *more)}[$__rate_interval])"


def rise(metric: str, scope: str, *more: str) -> str:
    """A counter's rise over all of the time that is shown."""
    return f"increase({pick(metric, scope, *more)}[$__range])"


def in_order(vector: str, label: str = "neuroncore") -> str:
    """The same with a label `core` of three digits, so that 10 does not come before 2."""
    two = f'label_replace({vector}, "core", "0$1", "{label}", "(..)")'
    one = f'label_replace({two}, "core", "00$1", "{label}", "(.)")'
    return f'label_replace({one}, "core", "$1", "{label}", "(...)")'


def idle_though_given(scope: str) -> str:
    """1 for each core that a pod was given and that was not busy in the window, 0 for others that
    were given, with the labels of who has them; nothing where nobody tells who was given what."""
    # By core alone: for as long as the window lasts, a core that changed hands has two series.
    seen = f"max_over_time({pick('neuroncore_utilization_ratio', scope)}[$__rate_interval])"
    busy = f"max by ({TARGET}, neuroncore) ({seen})"
    given = f"({pick('neuroncore_allocated', scope)} == 1)"
    return f"{given} * on ({TARGET}, neuroncore) group_left () ({busy} == bool 0)"
