"""The status of a sink, from what its endpoint answers."""

from __future__ import annotations

import pytest

from neuron_exporter.sinks.delivery.status import MAX_CODES, OTHER_CODE, DeliveryStatus
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from neuron_exporter.telemetry import Telemetry
from neuron_exporter.text import MAX_MESSAGE_LENGTH


def codes(telemetry: Telemetry) -> dict[str, float]:
    """Return the counted errors by code."""
    return {
        sample.labels["code"]: sample.value
        for family in telemetry.sink_errors.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }


def test_codes_of_the_endpoint_are_limited() -> None:
    telemetry = Telemetry()
    status = DeliveryStatus("test", telemetry, lambda: 0.0)
    for number in range(1000):
        status.record(Outcome(Verdict.RETRY, f"Code{number}", "no"))
        status.record_failure(f"Own{number}", "no")
    found = codes(telemetry)
    assert len(found) == MAX_CODES + 1
    assert sum(found.values()) == 2000


@pytest.mark.parametrize("code", ["x" * 65, "", "a b", "<html>", "a\n", "\u202e"])
def test_what_is_no_code_is_counted_as_other(code: str) -> None:
    telemetry = Telemetry()
    status = DeliveryStatus("test", telemetry, lambda: 0.0)
    status.record(Outcome(Verdict.RETRY, code, "\n" * 2**20))
    status.evaluate()
    assert codes(telemetry) == {OTHER_CODE: 1}
    assert status.state.isprintable()
    assert len(status.state) <= MAX_MESSAGE_LENGTH + len(OTHER_CODE) + 2


def test_time_since_which_it_fails() -> None:
    """It is that of the first failure after a delivery, and there is none before the first
    window."""
    times = iter(range(1000))
    status = DeliveryStatus("test", Telemetry(), lambda: float(next(times)))
    assert status.failing_since is None
    status.evaluate()
    assert status.failing_since is None
    for _ in range(2):
        for _ in range(3):
            status.record(Outcome(Verdict.RETRY, "503", "no"))
            status.evaluate()
        first = status.failing_since
        assert first is not None
        status.record_failure("TypeError", "no")
        status.evaluate()
        assert status.failing_since == first
        status.record(Outcome(Verdict.DELIVERED))
        status.evaluate()
        assert status.failing_since is None
    status.thread_died(MemoryError())
    assert status.failing_since is not None
    assert first < status.failing_since


@pytest.mark.parametrize("code", ["Throttling", "503", "AWS.Odd", "InternalFailure"])
def test_codes_of_aws_are_kept(code: str) -> None:
    telemetry = Telemetry()
    DeliveryStatus("test", telemetry, lambda: 0.0).record(Outcome(Verdict.RETRY, code))
    assert codes(telemetry) == {code: 1}
