"""Documents of simulated minutes, and of any distribution."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_exporter.metrics.selection import select_for_cloudwatch
from neuron_exporter.simulator.machine import Machine as SimulatedMachine
from neuron_exporter.simulator.options import parse
from neuron_exporter.sinks.cloudwatch.emf import documents, downsample
from neuron_exporter.sinks.cloudwatch.window import Windows
from tests.support.cloudwatch_sinks import START
from tests.support.datums import at, heartbeat_datums, metric_datums
from tests.support.emf import assert_stands_for, published, sent
from tests.support.reports import Harness

SETS = (
    (("InstanceId", "i-1"), ("InstanceType", "x")),
    (("InstanceType", "x"),),
    (),
)


@pytest.mark.parametrize("preset", ["minimal", "standard", "full"])
@pytest.mark.parametrize(
    "flags",
    [
        ("--instance-type", "trn1.32xlarge"),
        ("--instance-type", "inf1.xlarge", "--scenario", "idle"),
        ("--instance-type", "inf2.48xlarge", "--scenario", "mixed", "--runtimes", "5"),
        ("--instance-type", "trn2.48xlarge", "--scenario", "training"),
    ],
)
def test_documents_are_legal_and_complete(preset: str, flags: tuple[str, ...]) -> None:
    selection, problems = select_for_cloudwatch(preset, [], [])
    assert not problems
    machine, windows, harness = SimulatedMachine(parse([*flags])), Windows(selection, 60), Harness()
    for number in range(12):
        windows.add(at(harness.collect(machine.report(number)).snapshot, START + 5 * number))
    (window,) = windows.take(START + 60)
    made = heartbeat_datums(window, selection, *SETS) + metric_datums(window, selection, *SETS)
    lines = list(documents("NeuronExporter", made))
    wanted, found = sent(made), published(lines)
    assert found.keys() == wanted.keys()
    for key, sent_values in wanted.items():
        assert_stands_for(found[key], sent_values)
    assert sum(map(len, lines)) < 60_000


READINGS = st.dictionaries(
    st.floats(-1e6, 1e6), st.integers(1, 10_000), min_size=101, max_size=400
).map(lambda found: Counter({float(value): count for value, count in found.items()}))


@given(READINGS)
def test_downsampling_error_is_bounded(full: Counter[float]) -> None:
    thin = downsample(sorted(full.items()))
    assert_stands_for(Counter(dict(thin)), full)
