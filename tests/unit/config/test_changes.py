"""What of another configuration is taken at once, and what takes a restart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from neuron_exporter.config import Config, Given, Loaded, changes, cold, load
from neuron_exporter.config.changes import COLD, HOT
from neuron_exporter.config.schema import Section


def keys(model: type[Section], above: str = "") -> Iterator[str]:
    """Every key of a section, with those of the sections in it."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from keys(kind, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def loaded(settings: dict[str, Any] | None = None) -> Loaded:
    """A configuration with these keys."""
    return load(flags=[Given("a.yaml:1", key, value) for key, value in (settings or {}).items()])


def test_every_key_is_hot_or_cold() -> None:
    """A key that is added to the configuration has to be put in one of the two."""
    known = list(keys(Config))
    assert HOT.isdisjoint(COLD)
    assert sorted([*HOT, *COLD]) == sorted(known)


def test_what_is_the_same_is_no_change() -> None:
    """Other words for the same values change nothing."""
    same = [["InstanceId", "InstanceType"]]
    other = loaded({"source.period": "5000ms", "cloudwatch.dimension_sets": same})
    assert list(changes(loaded().config, other.config)) == []


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("source.period", "10s", "5s is in use, 10s was given"),
        ("cloudwatch.spool.max_age", "90m", "14d is in use, 90m was given"),
        ("source.replay.speed", 2, "1.0 is in use, 2.0 was given"),
        ("cloudwatch.region", "eu-west-1", "null is in use, 'eu-west-1' was given"),
        ("web.page", False, "True is in use, False was given"),
    ],
)
def test_a_cold_change_is_named_with_both_values(key: str, value: Any, problem: str) -> None:
    """Who has to restart is told for what, in the units of the file, and where it stands."""
    new = loaded({key: value, "log.level": "debug"})
    found = list(changes(loaded().config, new.config))
    assert [each.key for each in found] == [key, "log.level"]
    assert cold(found, new) == [f"a.yaml:1: {key}: takes a restart: {problem}"]
