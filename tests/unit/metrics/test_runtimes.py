"""Sums and labels of runtimes."""

from __future__ import annotations

import pytest

from tests.support.reports import Harness, executions, group, memory, report, runtime

LATENCY = "execution_latency_seconds"
MEMORY = "neuron_runtime_memory_used_bytes"


def used(host: float) -> dict[str, object]:
    """Return `memory_used` with this many bytes on the host."""
    return memory({}, host=host)


def test_runtimes_with_equal_tags_are_summed() -> None:
    samples = Harness().samples(
        report(
            runtime(1, "1", memory_used=used(10), execution_stats=executions(3)),
            runtime(2, "1", memory_used=used(5), execution_stats=executions(4)),
        )
    )
    assert samples.value(MEMORY, "1", "host") == 15
    assert samples.value("execution_status_total", "1", "completed") == 7


def test_latency_of_equal_tags_is_maximum() -> None:
    fast = executions(1, {"p50": 0.1, "p99": 0.9}, {"p50": 0.3})
    slow = executions(1, {"p50": 0.4, "p99": 0.2}, {"p50": 0.2})
    samples = Harness().samples(
        report(runtime(1, "1", execution_stats=fast), runtime(2, "1", execution_stats=slow))
    )
    assert samples.values(LATENCY) == {("1", "p50"): 0.4, ("1", "p99"): 0.9}
    assert samples.value("execution_device_latency_seconds", "1", "p50") == 0.3


def test_labels_do_not_depend_on_other_runtimes() -> None:
    harness = Harness()
    alone = harness.samples(report(runtime(1, "1", memory_used=used(10)))).values(MEMORY)
    both = harness.samples(
        report(runtime(1, "1", memory_used=used(10)), runtime(2, "1", memory_used=used(1)))
    ).values(MEMORY)
    assert alone.keys() == both.keys()


def test_pid_as_runtime_label() -> None:
    harness = Harness(runtime_labels=("runtime_tag", "pid"))
    document = report(runtime(1, "1", memory_used=used(10)), runtime(2, "1", memory_used=used(5)))
    assert harness.samples(document).values(MEMORY) == {
        ("1", "1", "host"): 10,
        ("1", "1", "neuron_device"): 0,
        ("1", "2", "host"): 5,
        ("1", "2", "neuron_device"): 0,
    }


@pytest.mark.parametrize("tag", ["", None])
def test_empty_tag_adds_no_label(tag: str | None) -> None:
    samples = Harness().samples(
        report({**runtime(5, memory_used=used(1)), "neuron_runtime_tag": tag})
    )
    assert samples.value(MEMORY, "host") == 1


def test_gauges_of_exited_runtime_end_at_once() -> None:
    harness = Harness()
    harness.samples(report(runtime(1, "a", memory_used=used(10), execution_stats=executions(2))))
    after = harness.samples(report())
    assert after.values(MEMORY) == {}
    assert after.value("execution_status_total", "a", "completed") == 2


def test_null_latency_is_absent_and_keeps_shape() -> None:
    harness = Harness()
    busy = report(runtime(1, "a", execution_stats=executions(5, {"p50": 0.1})))
    idle = report(runtime(1, "a", execution_stats=executions(0)))
    harness.collect(busy)
    first = harness.samples(idle)
    assert first.values(LATENCY) == {}
    again = harness.samples(busy)
    assert again.values(LATENCY) == {("a", "p50"): 0.1}
    assert again.snapshot.shape is first.snapshot.shape


def test_unchanged_series_keep_the_shape_object() -> None:
    harness = Harness()
    shapes = [
        harness.collect(
            report(runtime(1, "a", memory_used=used(n), execution_stats=executions(n)))
        ).snapshot.shape
        for n in range(3)
    ]
    assert shapes[0] is shapes[1] is shapes[2]
    other = harness.collect(report(runtime(1, "a", memory_used=used(1)), runtime(2, "b")))
    assert other.snapshot.shape is not shapes[0]


def vcpu(user: float, system: float, period: float) -> dict[str, object]:
    """Return `neuron_runtime_vcpu_usage`."""
    return group(period=period, vcpu_usage={"user": user, "system": system})


@pytest.mark.parametrize(
    ("period", "shown"), [(0.07, False), (0.49, False), (0.5, True), (5, True)]
)
def test_short_period_has_no_cpu_ratios(period: float, shown: bool) -> None:
    usage = vcpu(50, 25, period)
    average = {"user": 30, "nice": 0, "system": 10, "io_wait": 0, "irq": 0, "soft_irq": 0}
    document = report(
        runtime(1, "a", neuron_runtime_vcpu_usage=usage, execution_stats=executions(3)),
        system_data={
            "vcpu_usage": group(
                period=period, average_usage=average, usage_data={"0": {}, "1": {}}
            ),
            "memory_info": group(memory_total_bytes=100),
        },
    )
    samples = Harness(period=5).samples(document)
    expected = {("a", "user"): 0.5, ("a", "system"): 0.25} if shown else {}
    assert samples.values("neuron_runtime_vcpu_usage_ratio") == expected
    assert samples.values("system_vcpu_usage_ratio") == (
        {("user",): 0.3, ("system",): 0.1} if shown else {}
    )
    assert samples.value("system_vcpu_count") == 2
    assert samples.value("execution_status_total", "a", "completed") == 3
