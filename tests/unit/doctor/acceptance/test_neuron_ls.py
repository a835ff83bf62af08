"""neuron-ls: real programs in its place, and the forms of its output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neuron_exporter.doctor.acceptance import neuron_ls as subject
from neuron_exporter.doctor.acceptance.neuron_ls import parse, run_neuron_ls
from tests import captures
from tests.support.children import script
from tests.support.device_listing import listing, neuron_ls

CONTAINER = captures.FOLDER / "neuron-ls_trn2.48xlarge_2026-10_container_one_device.json"


def run(folder: Path) -> subject.NeuronLs:
    """Run the neuron-ls in a folder, beside neuron-monitor."""
    return run_neuron_ls([str(folder / "neuron-monitor")], {"PATH": "/usr/bin:/bin"}, {})


def test_devices(tmp_path: Path) -> None:
    neuron_ls(tmp_path, listing([0, 1], cores=4, lnc=2))
    found = run(tmp_path)
    assert (found.indices, found.reason, found.unknown) == ({0, 1}, "", [])
    assert found.devices[1].neuroncore_ids == [4, 5, 6, 7]
    assert found.devices[1].logical_neuroncore_config == 2


def test_program_on_the_path_of_neuron_monitor(tmp_path: Path) -> None:
    neuron_ls(tmp_path, listing([0]))
    added = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert run_neuron_ls(["neuron-monitor"], {}, added).indices == {0}


@pytest.mark.skipif(not CONTAINER.exists(), reason=captures.MISSING)
def test_recorded_output() -> None:
    """Recorded in a container with one device of a trn2.48xlarge."""
    found = parse(CONTAINER.read_bytes())
    assert (found.indices, found.unknown) == ({0}, [])
    assert found.devices[0].instance_type == "trn2.48xlarge"
    assert found.devices[0].neuroncore_ids == [0, 1, 2, 3]


def test_new_flag(tmp_path: Path) -> None:
    """Where `-j` is refused, `--output-format json` is tried; its form is not interpreted."""
    document = json.dumps({"instance_type": "trn2.48xlarge", "devices": listing([0])})
    script(tmp_path / "neuron-ls", f"[ $1 = --output-format ] || exit 1\necho '{document}'")
    found = run(tmp_path)
    assert not found.devices
    assert found.reason == (
        "not understood: neuron-ls printed an object with the keys instance_type, devices"
    )


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        (b"usage: neuron-ls", "not understood: neuron-ls printed no JSON"),
        (b"[" * 100_000, "not understood: neuron-ls printed no JSON"),
        (b'"text"', "not understood: neuron-ls printed a JSON str"),
        (b'[{"device": 0}]', "not understood: neuron-ls: Object missing required field"),
        (b'[{"neuron_device": "a"}]', "not understood: neuron-ls: Expected `int`"),
        (b'[{"neuron_device": 0, "neuroncore_ids": [-1]}]', "not understood: neuron-ls: Expected"),
        (b"[]", "neuron-ls lists no device"),
        (b" " * (5 * 2**20), "not understood: neuron-ls printed 5,242,880 bytes"),
    ],
)
def test_forms_that_are_not_understood(out: bytes, reason: str) -> None:
    found = parse(out)
    assert not found.devices
    assert found.reason.startswith(reason)


def test_unknown_fields_are_named() -> None:
    document = [{**each, "temperature": 40} for each in listing([0])]
    found = parse(json.dumps(document).encode())
    assert (found.indices, found.unknown) == ({0}, ["temperature"])


def test_no_driver(tmp_path: Path) -> None:
    """It exits with 1 and prints nothing but an error, as neuron-ls does without a driver."""
    script(
        tmp_path / "neuron-ls", "echo 'FATA[0000] Failed to discover neuron devices' >&2; exit 1"
    )
    assert run(tmp_path).reason == (
        "neuron-ls -j exited with status 1: FATA[0000] Failed to discover neuron devices"
    )


def test_missing_program(tmp_path: Path) -> None:
    assert run(tmp_path).reason == "neuron-ls was not found"


def test_program_that_cannot_be_started(tmp_path: Path) -> None:
    path = tmp_path / "neuron-ls"
    path.write_text("no program\n")
    path.chmod(0o755)
    assert run(tmp_path).reason.startswith("neuron-ls cannot be started: ")


def test_hanging_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "TIMEOUT", 0.5)
    script(tmp_path / "neuron-ls", "sleep 600")
    assert run(tmp_path).reason == "neuron-ls did not end within 0.5 s"
