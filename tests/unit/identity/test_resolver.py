"""Identity lookups: which providers are queried, for how long, and which source wins."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from neuron_exporter.config import load
from neuron_exporter.identity import local, resolver
from neuron_exporter.identity.fields import LookupResult
from neuron_exporter.identity.machine import Identity, IdentitySource
from neuron_exporter.identity.resolver import (
    DIMENSION_SETS_TIMEOUT,
    LABELS_TIMEOUT,
    IdentityProvider,
    IdentityResolver,
    RequiredFields,
)
from neuron_exporter.model import Machine, Timestamp
from neuron_exporter.pipeline import processor
from neuron_exporter.pipeline.build import Pipeline, build
from tests.support.reports import report
from tests.support.waiting import wait_for

MACHINE = Machine(
    instance_id="i-0fedcba9876543210",
    instance_type="trn1.32xlarge",
    availability_zone="us-west-2b",
    region="us-west-2",
)
ID = frozenset({"instance_id"})


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "_MIN_PAUSE", 0.01)
    monkeypatch.setattr(resolver, "_MAX_PAUSE", 0.02)


class FakeProvider:
    """A provider with prepared results; the last one is repeated."""

    def __init__(
        self, source: IdentitySource, fields: Set[str], *results: LookupResult | Exception
    ) -> None:
        self.queries: list[Set[str]] = []
        self.may_return = threading.Event()
        self.may_return.set()
        self._results = list(results)
        self.provider = IdentityProvider(source, frozenset(fields), self._lookup)

    def _lookup(self, missing: Set[str]) -> LookupResult:
        self.may_return.wait(60)
        self.queries.append(missing)
        result = self._results[min(len(self.queries), len(self._results)) - 1]
        if isinstance(result, Exception):
            raise result
        return result


class RunningResolver:
    """A resolver that runs until the test ends."""

    def __init__(
        self, identity: Identity, required: RequiredFields, *providers: FakeProvider
    ) -> None:
        self.age = 0.0
        self.identity = identity
        self.resolver = IdentityResolver(
            identity, [each.provider for each in providers], required, lambda: self.age
        )

    @property
    def ended(self) -> bool:
        """Whether the resolver's thread has ended."""
        return not self.resolver._thread.is_alive()


@pytest.fixture
def start() -> Iterator[Callable[..., RunningResolver]]:
    """Start resolvers, and stop them after the test."""
    started: list[RunningResolver] = []

    def start(*args: Any) -> RunningResolver:
        started.append(RunningResolver(*args))
        started[-1].resolver.start()
        return started[-1]

    yield start
    for each in started:
        each.resolver.stop()
        wait_for(lambda each=each: each.ended)  # type: ignore[misc]


def test_retries_until_found(start: Callable[..., RunningResolver]) -> None:
    late = FakeProvider(
        IdentitySource.IMDS,
        ID,
        LookupResult(error="not yet"),
        LookupResult(error="not yet"),
        LookupResult(MACHINE),
    )
    with capture_logs() as logs:
        running = start(Identity(Machine(), {}), RequiredFields(ID), late)
        wait_for(lambda: running.ended)
    assert running.identity.machine() == MACHINE
    assert late.queries == [ID] * 3
    events = [(each["event"], each.get("result")) for each in logs]
    assert events == [
        ("identity_lookup", "not yet"),  # logged once for two failed lookups
        ("identity_lookup", "answered"),
        ("identity_complete", None),
    ]


def test_queries_only_missing_fields(start: Callable[..., RunningResolver]) -> None:
    """Each provider is queried for those of its fields that no earlier one has found."""
    first = FakeProvider(IdentitySource.IMDS, ID | {"region"}, LookupResult(MACHINE))
    second = FakeProvider(
        IdentitySource.ECS, {"region", "cluster"}, LookupResult(Machine(cluster="c"))
    )
    third = FakeProvider(IdentitySource.ENVIRONMENT, {"node_name"}, LookupResult())
    required = RequiredFields(ID, (frozenset({"region", "cluster"}),))
    running = start(Identity(Machine(), {}), required, first, second, third)
    wait_for(lambda: running.ended)
    assert first.queries == [ID | {"region"}]
    assert second.queries == [{"cluster"}]
    assert third.queries == []


def test_field_from_stream_ends_lookup(start: Callable[..., RunningResolver]) -> None:
    failing = FakeProvider(IdentitySource.IMDS, ID, LookupResult(error="no answer"))
    running = start(Identity(Machine(), {}), RequiredFields(ID), failing)
    wait_for(lambda: failing.queries)
    running.identity.update(IdentitySource.STREAM, MACHINE)
    wait_for(lambda: running.ended)


@pytest.mark.parametrize("age", [LABELS_TIMEOUT, DIMENSION_SETS_TIMEOUT])
def test_timeout_is_logged(start: Callable[..., RunningResolver], age: float) -> None:
    """Lookups end after a minute for labels, after ten if a dimension set is incomplete."""
    failing = FakeProvider(IdentitySource.IMDS, ID, LookupResult(error="no answer"))
    required = RequiredFields(ID) if age == LABELS_TIMEOUT else RequiredFields(ID, (ID,))
    with capture_logs() as logs:
        running = start(Identity(Machine(), {}), required, failing)
        running.age = age - 1
        count = len(failing.queries)
        wait_for(lambda: len(failing.queries) > count + 1)
        running.age = age
        wait_for(lambda: running.ended)
    assert logs[-1] == {
        "event": "identity_incomplete",
        "log_level": "warning",
        "part": "identity",
        "missing": ["instance_id"],
        "imds": "no answer",
    }


def test_provider_exception(start: Callable[..., RunningResolver]) -> None:
    """An unexpected exception is reported, and the next provider is queried."""
    broken = FakeProvider(IdentitySource.IMDS, ID, ZeroDivisionError())
    good = FakeProvider(IdentitySource.ECS, ID, LookupResult(MACHINE))
    running = start(Identity(Machine(), {}), RequiredFields(ID), broken, good)
    wait_for(lambda: running.ended)
    assert running.identity.machine() == MACHINE
    assert "ZeroDivisionError" in running.resolver.status()["imds"]


def test_stop_during_pause(
    start: Callable[..., RunningResolver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "_MIN_PAUSE", 60.0)
    failing = FakeProvider(IdentitySource.IMDS, ID, LookupResult(error="no answer"))
    with capture_logs() as logs:
        running = start(Identity(Machine(), {}), RequiredFields(ID), failing)
        wait_for(lambda: running.resolver.status() == {"imds": "no answer"})
        running.resolver.stop()
        wait_for(lambda: running.ended)
    assert [each["event"] for each in logs] == ["identity_lookup"]


def test_first_lookup_done(start: Callable[..., RunningResolver]) -> None:
    slow = FakeProvider(IdentitySource.IMDS, ID, LookupResult(MACHINE))
    slow.may_return.clear()
    identity = Identity(Machine(), {})
    assert identity.first_lookup_done.is_set(), "set while no resolver runs"
    start(identity, RequiredFields(ID), slow)
    assert not identity.first_lookup_done.is_set()
    slow.may_return.set()
    assert identity.first_lookup_done.wait(60)
    assert identity.machine() == MACHINE


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a DMI folder without files, whatever machine the test runs on."""
    monkeypatch.setattr(local, "DMI_FOLDER", tmp_path)
    return tmp_path


def is_labelled(parts: Pipeline) -> bool:
    """Return whether the series of a new report have the instance id."""
    line = json.dumps(report(instance_info={})).encode()
    now = time.monotonic()
    parts.processor.on_line(memoryview(line), Timestamp(time.time(), now))
    assert parts.prometheus is not None
    return MACHINE.instance_id.encode() in parts.prometheus.expose(now)


@pytest.mark.usefixtures("board")
def test_first_report_waits_for_first_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "IDENTITY_WAIT", 60.0)
    parts = build(load(), environment={})
    parts.identity.first_lookup_done.clear()

    def finish_lookup() -> None:
        parts.identity.update(IdentitySource.IMDS, MACHINE)
        parts.identity.first_lookup_done.set()

    threading.Timer(0.1, finish_lookup).start()
    assert is_labelled(parts)


@pytest.mark.usefixtures("board")
def test_wait_for_first_lookup_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first report waits for a limited time, later reports do not wait."""
    parts = build(load(), environment={})
    parts.identity.first_lookup_done.clear()
    monkeypatch.setattr(processor, "IDENTITY_WAIT", 0.05)
    assert not is_labelled(parts)
    monkeypatch.setattr(processor, "IDENTITY_WAIT", 600.0)
    assert not is_labelled(parts)


# How long a field is worth a lookup


DIMENSION_SETS = (frozenset({"instance_id", "cluster"}), frozenset({"instance_type"}))


@pytest.mark.parametrize(
    ("known", "age", "missing"),
    [
        ({}, 0, {"region", "instance_id", "cluster", "instance_type"}),
        ({"instance_type": "t"}, 59, {"region", "instance_id", "cluster"}),
        ({"instance_type": "t"}, 60, set()),
        ({"instance_id": "i"}, 60, {"cluster", "instance_type"}),
        ({"instance_id": "i"}, 599, {"cluster", "instance_type"}),
        ({"instance_id": "i"}, 600, set()),
    ],
)
def test_missing_fields_by_age(known: Mapping[str, str], age: float, missing: set[str]) -> None:
    required = RequiredFields(frozenset({"region"}), DIMENSION_SETS)
    assert required.missing(Machine(**known), age) == missing


def test_missing_labels_by_age() -> None:
    assert RequiredFields(ID).missing(Machine(), 59) == ID
    assert RequiredFields(ID).missing(Machine(), 60) == set()
