"""Points have the labels of the machine, for which the first of them wait."""

from __future__ import annotations

from neuron_exporter.model import Machine
from tests.support.otlp_sinks import (
    COMPLETED,
    MACHINE,
    MINUTE,
    OF_COMPLETED,
    START,
    ManualOtlpSink,
    busy,
)


def test_points_have_the_labels_of_the_machine_and_fixed_ones() -> None:
    manual = ManualOtlpSink(labels=(("team", "a"),), identity_labels=["instance_id"])
    manual.minute("app")
    (point,) = manual.transport.of(COMPLETED, runtime_tag="app", **OF_COMPLETED)
    assert point.labels == {"team": "a", "instance_id": "i-1", "runtime_tag": "app", **OF_COMPLETED}
    (info,) = manual.transport.of("instance_info")
    assert info.labels["region"] == "us-east-1"


def test_labels_stay_as_in_the_first_healthy_report() -> None:
    manual = ManualOtlpSink()
    manual.minute("app")
    manual.machine = Machine(instance_id="i-1", region="us-east-1", subnet_id="late")
    manual.minute("app")
    assert not manual.transport.of(COMPLETED, subnet_id="late")
    assert len({point.resource for point in manual.transport.points}) == 1


def test_own_metrics_have_the_labels_of_the_machine() -> None:
    manual = ManualOtlpSink()
    manual.minute("app")
    (up,) = manual.transport.of("neuron_exporter_up")
    assert up.labels["instance_id"] == "i-1"
    (restarts,) = manual.transport.of("neuron_exporter_reports_total")
    assert (restarts.kind, restarts.start / 1e9) == ("sum", START)


def test_the_first_interval_waits_for_the_machine_s_id() -> None:
    manual = ManualOtlpSink(machine=Machine(region="us-east-1"), since=START + 30)
    manual.wait(25)
    manual.offer(*busy(["app"]))
    manual.wait(5)
    assert not manual.transport.attempts
    manual.machine = MACHINE
    manual.wait(5)
    assert manual.completed() == [(60, 1)]


def test_labels_that_become_known_with_the_first_healthy_report() -> None:
    manual = ManualOtlpSink(machine=Machine(instance_id="i-1"), since=START + 30)
    manual.wait(20)
    manual.offer(neuron_hardware_info={"neuron_device_count": 0, "error": "no driver"})
    manual.wait(10)
    manual.machine = MACHINE
    manual.minute("app")
    assert {p.labels.get("region") for p in manual.transport.of(COMPLETED)} == {"us-east-1"}


def test_an_id_that_is_known_after_the_first_report_is_on_all_points() -> None:
    manual = ManualOtlpSink(machine=Machine(region="us-east-1"), since=START + 30)
    manual.offer(*busy(["app"]))
    manual.wait(8)
    manual.machine = MACHINE
    manual.wait(17)
    manual.offer(*busy(["app"]))
    manual.wait(5)
    assert manual.completed()
    assert {point.labels["instance_id"] for point in manual.transport.points} == {"i-1"}


def test_points_are_sent_without_an_id_after_a_minute() -> None:
    manual = ManualOtlpSink(machine=Machine())
    manual.minute("app")
    manual.wait(5)
    assert manual.completed() == [(60, 1)]


def test_a_signature_needs_the_region() -> None:
    manual = ManualOtlpSink(machine=Machine(instance_id="i-1"), endpoint=None, sigv4=True)
    manual.minute("app")
    manual.minute("app")
    assert not manual.transport.attempts
    assert manual.sink.status()["state"] == "IdentityIncomplete: unknown for this machine: region"
    manual.machine = MACHINE
    manual.wait(MINUTE)
    assert [point[0] for point in manual.completed()] == [60, 120, 180]
