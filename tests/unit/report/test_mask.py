"""Masking of reports: only what the schema knows is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_exporter.model import Series
from neuron_exporter.report import Masker
from tests import captures
from tests.support.reports import Harness, cores, executions, group, memory, report, runtime

SECRET = "geheim"  # noqa: S105 (a word that must not appear)

IDENTITY = {"runtime_tag", "pid", "namespace", "pod", "container"}
"""Labels whose values are masked."""


def mask(document: Any) -> Any:
    """Return the masked document."""
    return json.loads(Masker().mask_line(json.dumps(document).encode()))


def planted(value: Any, secret: Any) -> Any:
    """Return a document with a secret beside each key, and as the value of each text."""
    if isinstance(value, dict):
        items = {name: planted(item, secret) for name, item in value.items()}
        return {**items, f"/home/{SECRET}/model.neff": secret}
    if isinstance(value, list):
        return [*(planted(item, secret) for item in value), secret]
    return secret if isinstance(value, str) else value


FULL = report(
    runtime(
        1,
        "app",
        execution_stats=executions(3, latency={"p50": 1.0}, errors={"hardware": 1}),
        neuroncore_counters=cores(_0=50),
        memory_used=memory({"0": {"tensors": 5}}),
    ),
    system_data={"memory_info": group(memory_total_bytes=1)},
    neuron_k8s_info={
        "neuroncores_k8s_info": {"0": {"namespace": "a", "pod_name": "b", "container_name": ["c"]}},
        "error": "",
    },
)


@pytest.mark.parametrize(
    "secret",
    [
        *(SECRET, f"open /home/{SECRET}: {SECRET} denied", {SECRET: SECRET}, [SECRET]),
        *({"a": [{SECRET: 7}]}, f"{SECRET}.large", f"v1{SECRET}", f"{SECRET}-east-1a"),
    ],
)
def test_planted_text_is_masked(secret: Any) -> None:
    masked = mask(planted(FULL, secret))
    assert SECRET not in json.dumps(masked)
    assert masked["neuron_hardware_info"]["neuron_device_count"] == 2


@pytest.mark.parametrize("secret", [123456789012, "123456789012", {"account": 123456789012}])
def test_planted_account_number_is_masked(secret: Any) -> None:
    """Numbers are kept below keys of numbers only."""
    assert "123456789012" not in json.dumps(mask(planted(FULL, secret)))


@given(
    st.recursive(
        st.sampled_from([SECRET, 123456789012, None, True]),
        lambda below: (
            st.lists(below, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        SECRET,
                        "neuron_runtime_data",
                        "report",
                        "error",
                        "instance_info",
                        "instance_type",
                    ]
                ),
                below,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_no_form_of_a_document_shows_a_secret(document: Any) -> None:
    text = json.dumps(mask(document))
    assert SECRET not in text
    assert "123456789012" not in text


@pytest.mark.parametrize(
    ("key", "kept", "masked"),
    [
        ("instance_type", "trn2u.48xlarge", "geheim.large"),
        ("instance_type", "inf1.xlarge", "a1.geheim"),
        ("instance_type", "c7gn.metal-48xl", "trn1.2xlarge geheim"),
        ("instance_availability_zone", "us-east-1a", "geheim"),
        ("instance_availability_zone", "us-gov-west-1b", "us-east-1a-geheim"),
        ("instance_availability_zone_id", "use1-az6", "geheim-az1"),
        ("instance_region", "ap-southeast-2", "ge-heim-1"),
        ("instance_region", "us-isof-south-1", "us-geheim-south-1"),
    ],
)
def test_types_of_machines_are_kept(key: str, kept: str, masked: str) -> None:
    """A text at a known key is kept if it has the form of its kind."""
    assert mask({"instance_info": {key: kept}}) == {"instance_info": {key: kept}}
    assert mask({"instance_info": {key: masked}}) == {"instance_info": {key: f"{key}-1"}}


def test_errors_stay_errors() -> None:
    """Of an error text, only its presence is kept."""
    masked = mask(
        report(
            runtime(1, "a", memory_used=group("open /proc/7/stat"), execution_stats=executions(1)),
            runtime(2, "b", memory_used=group(), execution_stats=group({"code": 7})),  # type: ignore[arg-type]
        )
    )
    first, second = (each["report"] for each in masked["neuron_runtime_data"])
    assert (first["memory_used"]["error"], first["execution_stats"]["error"]) == ("***", "")
    assert (second["memory_used"]["error"], second["execution_stats"]["error"]) == ("", "***")


@pytest.mark.parametrize("line", [b"{", b"[" * 100_000, b"\xff", b"1" * 5000 + b"x"])
def test_what_is_not_json_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Masker().mask_line(line)


@pytest.mark.parametrize("path", captures.all_captures(), ids=lambda path: path.stem)
def test_masked_recordings_have_equal_metrics(path: Path) -> None:
    """All values, and all labels except those of identity, are those of the recording."""
    masker, plain, masked = Masker(), Harness(), Harness()
    for line in captures.lines(path):
        before = plain.collect(json.loads(line)).snapshot
        after = masked.collect(json.loads(masker.mask_line(line))).snapshot
        assert after.values == before.values
        assert [*map(kept_labels, before.shape)] == [*map(kept_labels, after.shape)]


def kept_labels(series: Series) -> tuple[str, list[tuple[str, str]]]:
    """Return the name and the labels of a series that masking leaves as they are."""
    return series.spec.name, [label for label in series.labels if label[0] not in IDENTITY]
