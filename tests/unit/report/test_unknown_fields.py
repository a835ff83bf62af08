"""Fields that are not in the schema: found wherever they are, and fast where there are none."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neuron_exporter.report import ReportError, unknown_fields
from neuron_exporter.report.unknown_fields import _strict_decoder
from tests import captures
from tests.support.reports import cores, group, report, runtime
from tests.support.simulated import reports

RUNTIME = "neuron_runtime_data[]"
CORE = f"{RUNTIME}.report.neuroncore_counters.neuroncores_in_use{{}}"


def encode(document: Any) -> bytes:
    """Return a report as a line."""
    return json.dumps(document).encode()


def with_field(name: str, **counters: Any) -> Any:
    """Return a report with 32 runtimes, one of which has this field beside its utilization."""
    runtimes = [runtime(pid, neuroncore_counters=cores(_0=5)) for pid in range(32)]
    runtimes[17] = runtime(17, neuroncore_counters=group(neuroncores_in_use={"0": {name: 1}}))
    return report(*runtimes)


def objects(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a report with their paths, those in other objects' place of indices and
    keys under the path that these share."""
    if isinstance(value, list):
        for each in value:
            yield from objects(each, f"{path}[]")
    if isinstance(value, dict):
        is_map = any(key.isdigit() or key.startswith("nc_v") for key in value)
        if not is_map:
            yield path, value
        for key, each in value.items():
            below = f"{path}{{}}" if is_map else f"{path}.{key}" if path else key
            yield from objects(each, below)


IGNORED = ("loaded_models", "latency_stats.", "_summary")
"""Parts of a report that are not read, or whose names are read from the report itself."""


@pytest.mark.parametrize("path", captures.all_captures(), ids=lambda path: path.stem)
def test_recordings_have_none(path: Path) -> None:
    for line in captures.lines(path):
        assert unknown_fields(line) == []
        _strict_decoder(frozenset()).decode(line)


@pytest.mark.parametrize("instance_type", ["inf1.6xlarge", "trn1.2xlarge", "trn2.48xlarge"])
def test_found_in_every_object(instance_type: str) -> None:
    """Each is found, by its own path, and from then on only others are."""
    (document,) = reports(1, "--instance-type", instance_type)
    known: set[str] = set()
    for path, inner in dict(reversed(list(objects(document)))).items():
        if any(part in path for part in IGNORED):
            continue
        inner["news"] = {"deep": [1]}
        expected = f"{path}.news" if path else "news"
        assert unknown_fields(encode(document), known) == [expected]
        known.add(expected)
        assert unknown_fields(encode(document), known) == []
        _strict_decoder(frozenset(known)).decode(encode(document))
    assert len(known) >= 18


def test_all_at_once() -> None:
    """Unknown groups and fields are found at every level, each once."""
    used = {"neuroncore_utilization": 5, "temperature": 60}
    counters = group(neuroncores_in_use={"0": used, "1": used}, clock=1)
    document = report(runtime(neuroncore_counters=counters, power={"watts": 9}), weather={})
    assert unknown_fields(encode(document)) == [
        f"{RUNTIME}.report.neuroncore_counters.clock",
        f"{CORE}.temperature",
        f"{RUNTIME}.report.power",
        "weather",
    ]


def test_in_one_runtime_of_many() -> None:
    assert unknown_fields(encode(with_field("temperature"))) == [f"{CORE}.temperature"]


@pytest.mark.parametrize(
    "name",
    ["", "class", "max-power", "a.b", "_0", "__x", "ü", "x" * 60, "\N{REPLACEMENT CHARACTER}"],
)
def test_known_names(name: str) -> None:
    """A name may be any text, and a known one costs no second search."""
    document = with_field(name)
    known = frozenset(unknown_fields(encode(document)))
    assert known == {f"{CORE}.{name}"}
    _strict_decoder(known).decode(encode(document))
    document["neuron_runtime_data"][3]["news"] = 1
    assert unknown_fields(encode(document), known) == [f"{RUNTIME}.news"]


def test_long_names() -> None:
    """The paths of long names are cut, so that these are searched every time."""
    document = with_field("x" * 61)
    known = unknown_fields(encode(document))
    assert known == [f"{CORE}.{'x' * 60}"]
    assert unknown_fields(encode(document), {*known}) == []


def test_name_of_one_section_in_another() -> None:
    """A field that is known in one place is new in another, although both have the same type."""
    document = report(instance_info={"rack": 1})
    known = unknown_fields(encode(document))
    document["instance_data"] = copy.deepcopy(document["instance_info"])
    assert known == ["instance_info.rack"]
    assert unknown_fields(encode(document), {*known}) == ["instance_data.rack"]


@pytest.mark.parametrize("value", ["NaN", '"\\ud800"', "[" * 50 + "]" * 50, "1" * 5000])
def test_beside_values_that_only_python_reads(value: str) -> None:
    """A line that a decoder by type rejects is searched as well."""
    line = encode(with_field("temperature") | {"neuron_hardware_info": {"error": "HERE"}})
    line = line.replace(b'"HERE"', value.encode())
    assert unknown_fields(line) == [f"{CORE}.temperature"]


def test_invalid_line() -> None:
    with pytest.raises(ReportError):
        unknown_fields(b"[]")


def test_strict_decoder_rejects() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `temperature`"):
        _strict_decoder(frozenset()).decode(encode(with_field("temperature")))


@pytest.mark.parametrize("name", ['a"b', "a\\b", "\n", "\0", "\ud800"], ids=ascii)
def test_names_that_the_strict_decoder_rejects(name: str) -> None:
    line = encode({**report(), name: 1, "system_data": {name: 2}})
    found = unknown_fields(line)
    assert found == sorted((name, f"system_data.{name}"))
    assert unknown_fields(line, frozenset(found)) == []
    later = encode({**report(), name: 1, "later": 3})
    assert unknown_fields(later, frozenset(found)) == ["later"]
