"""Labels never depend on what else is alive; equal labels are one series."""

from __future__ import annotations

import pytest

from tests.support.reports import Bench, executions, group, memory, report, runtime

LATENCY = "execution_latency_seconds"
MEMORY = "neuron_runtime_memory_used_bytes"


def used(host: float) -> dict[str, object]:
    """`memory_used` with that many bytes on the host."""
    return memory({}, host=host)


def test_runtimes_with_equal_tags_are_summed() -> None:
    """Containers that share a tag make one series of each kind: the sum of both."""
    samples = Bench().samples(
        report(
            runtime(1, "1", memory_used=used(10), execution_stats=executions(3)),
            runtime(2, "1", memory_used=used(5), execution_stats=executions(4)),
        )
    )
    assert samples.one(MEMORY, "1", "host") == 15
    assert samples.one("execution_status_total", "1", "completed") == 7


def test_latency_of_equal_tags_is_the_highest() -> None:
    """Percentiles cannot be added: of runtimes with one tag the worst is shown."""
    fast = executions(1, {"p50": 0.1, "p99": 0.9}, {"p50": 0.3})
    slow = executions(1, {"p50": 0.4, "p99": 0.2}, {"p50": 0.2})
    samples = Bench().samples(
        report(runtime(1, "1", execution_stats=fast), runtime(2, "1", execution_stats=slow))
    )
    assert samples.of(LATENCY) == {("1", "p50"): 0.4, ("1", "p99"): 0.9}
    assert samples.one("execution_device_latency_seconds", "1", "p50") == 0.3


def test_a_label_does_not_depend_on_others_being_alive() -> None:
    """A second process with the same tag changes the value of a series, never its labels."""
    bench = Bench()
    alone = bench.samples(report(runtime(1, "1", memory_used=used(10)))).of(MEMORY)
    both = bench.samples(
        report(runtime(1, "1", memory_used=used(10)), runtime(2, "1", memory_used=used(1)))
    ).of(MEMORY)
    assert alone.keys() == both.keys()


def test_pid_is_a_label_for_those_who_want_it() -> None:
    """With runtime_labels [runtime_tag, pid] every process has its own series."""
    bench = Bench(runtime_labels=("runtime_tag", "pid"))
    document = report(runtime(1, "1", memory_used=used(10)), runtime(2, "1", memory_used=used(5)))
    assert bench.samples(document).of(MEMORY) == {
        ("1", "1", "host"): 10,
        ("1", "1", "neuron_device"): 0,
        ("1", "2", "host"): 5,
        ("1", "2", "neuron_device"): 0,
    }


@pytest.mark.parametrize("tag", ["", None])
def test_an_empty_tag_is_no_label(tag: str | None) -> None:
    """An empty string never becomes a label."""
    samples = Bench().samples(
        report({**runtime(5, memory_used=used(1)), "neuron_runtime_tag": tag})
    )
    assert samples.one(MEMORY, "host") == 1


def test_gauges_of_a_gone_runtime_go_at_once() -> None:
    """What a runtime used is not shown after it has gone."""
    bench = Bench()
    bench.samples(report(runtime(1, "a", memory_used=used(10), execution_stats=executions(2))))
    after = bench.samples(report())
    assert after.of(MEMORY) == {}
    assert after.one("execution_status_total", "a", "completed") == 2


def test_null_latency_is_absent_and_keeps_the_shape() -> None:
    """A pause of an idle runtime has no percentiles, and makes the sinks prepare nothing anew."""
    bench = Bench()
    busy = report(runtime(1, "a", execution_stats=executions(5, {"p50": 0.1})))
    idle = report(runtime(1, "a", execution_stats=executions(0)))
    bench.collect(busy)
    first = bench.samples(idle)
    assert first.of(LATENCY) == {}
    again = bench.samples(busy)
    assert again.of(LATENCY) == {("a", "p50"): 0.1}
    assert again.snapshot.shape is first.snapshot.shape


def test_the_shape_is_the_same_object_while_nothing_comes_or_goes() -> None:
    """Sinks may key what they prepared by the identity of the shape."""
    bench = Bench()
    shapes = [
        bench.collect(
            report(runtime(1, "a", memory_used=used(n), execution_stats=executions(n)))
        ).snapshot.shape
        for n in range(3)
    ]
    assert shapes[0] is shapes[1] is shapes[2]
    other = bench.collect(report(runtime(1, "a", memory_used=used(1)), runtime(2, "b")))
    assert other.snapshot.shape is not shapes[0]


def vcpu(user: float, system: float, period: float) -> dict[str, object]:
    """`neuron_runtime_vcpu_usage`."""
    return group(period=period, vcpu_usage={"user": user, "system": system})


@pytest.mark.parametrize(("period", "shown"), [(0.01, False), (2.4, False), (2.6, True), (5, True)])
def test_short_periods_yield_no_cpu_shares(period: float, shown: bool) -> None:
    """A first report covers milliseconds: what it says of CPU shares is noise, the rest is kept."""
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
    samples = Bench(period=5).samples(document)
    wanted = {("a", "user"): 0.5, ("a", "system"): 0.25} if shown else {}
    assert samples.of("neuron_runtime_vcpu_usage_ratio") == wanted
    assert samples.of("system_vcpu_usage_ratio") == (
        {("user",): 0.3, ("system",): 0.1} if shown else {}
    )
    assert samples.one("system_vcpu_count") == 2
    assert samples.one("execution_status_total", "a", "completed") == 3
