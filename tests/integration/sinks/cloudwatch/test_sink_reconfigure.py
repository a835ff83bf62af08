"""Reconfiguration of a sink that runs in real time."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace

from neuron_exporter.model import Machine, Timestamp
from neuron_exporter.sinks.cloudwatch.settings import SinkSettings
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink
from neuron_exporter.telemetry import Telemetry
from tests.support.cloudwatch_sinks import SummingTransport, memory_spool
from tests.support.reports import Harness, executions, report, runtime
from tests.support.selections import BOTH, COMPLETED

ONE, FLEET = ("InstanceId",), ("ClusterName",)


def test_concurrent_reloads_lose_and_double_nothing() -> None:
    transport, total = SummingTransport(), 0
    settings = SinkSettings(
        namespace="NeuronExporter", region="r", interval=0.2, dimension_sets=[ONE], spread=False
    )
    machine = Machine(instance_id="i-1", cluster="c")
    sink = CloudWatchSink(
        BOTH, settings, lambda: machine, lambda _: transport, Telemetry(), memory_spool()
    )
    harness, stopping = Harness(), threading.Event()

    def reload() -> None:
        others = itertools.cycle([(COMPLETED, [ONE, FLEET]), (BOTH, [ONE])])
        while not stopping.wait(0.05):
            selection, sets = next(others)
            sink.reconfigure(selection, replace(settings, dimension_sets=sets))

    reloading = threading.Thread(target=reload)
    sink.start()
    reloading.start()
    while len({datum["Timestamp"] for datum in list(transport.delivered)}) < 10:
        total += 1
        snapshot = harness.collect(report(runtime(execution_stats=executions(1)))).snapshot
        sink.offer(replace(snapshot, taken_at=Timestamp(time.time(), time.monotonic())))
    stopping.set()
    reloading.join()
    assert sink.close(60)
    assert transport.sums("ExecutionsCompleted")[ONE] == total
    assert transport.sums("ExecutionsCompleted")[FLEET] > 0
