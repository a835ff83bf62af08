"""The Neuron targets, with stand-ins for the packages that require the hardware."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import TAG, Programs, file_names
from tests.support.waiting import wait_for
from tests.workloads.conftest import Trained

pytestmark = pytest.mark.workloads

RANDOM = ("housing", "--weights", "none")
LOAD = ("--rate", "20", "--duration", "0.2", "--metrics-port", "0")


def calls(programs: Programs) -> list[dict[str, Any]]:
    """Return the calls that the stand-in received."""
    return [json.loads(line) for line in (programs.folder / "calls").read_text().splitlines()]


def with_stand_in(programs: Programs, stand_in: str, **environment: str) -> Programs:
    """Return the programs with a stand-in that records its calls."""
    return programs.with_stand_in(stand_in, CALLS=str(programs.folder / "calls"), **environment)


@pytest.mark.parametrize(
    ("target", "arguments"), [("neuronx", ["-O1", "--auto-cast", "none"]), ("neuron", ["-O1"])]
)
def test_trace_is_called_as_documented(
    programs: Programs, target: str, arguments: list[str]
) -> None:
    """The installed package determines the target and receives the model, example and flags."""
    neuron = with_stand_in(programs, target)
    done = neuron.run(
        "compile.py", *RANDOM, "--batch", "2", f"--compiler-args={' '.join(arguments)}"
    )
    assert (done.status, done.err) == (0, "")
    assert calls(programs) == [
        {
            "call": f"torch_{target}.trace",
            "shape": [2, 11],
            "compiler_args": arguments,
            "tag": "compile",
        }
    ]
    metadata = json.loads((programs.folder / "housing.pt.json").read_text())
    assert metadata["target"] == target
    assert metadata["check"]["tolerance"] == 0.05


@pytest.mark.parametrize("target", ["neuronx", "neuron"])
def test_model_for_neuron_requires_its_package(programs: Programs, target: str) -> None:
    neuron = with_stand_in(programs, target)
    neuron.succeed("compile.py", *RANDOM)
    printed = neuron.succeed("inference.py", "--model", "housing.pt", "--tag", "shop", *LOAD)
    assert f"housing [1, 11] on {target}, tag shop" in printed
    done = programs.run("inference.py", "--model", "housing.pt", *LOAD)
    assert done.status == 1
    assert done.err == (
        f"inference.py: housing.pt was compiled for {target}, but this machine's target is cpu: "
        "compile it with --target cpu\n"
    )


@pytest.mark.parametrize("target", ["neuronx", "neuron"])
def test_all_cores(programs: Programs, target: str) -> None:
    """DataParallel receives the loaded model, and all batches of a request at once."""
    neuron = with_stand_in(programs, target)
    neuron.succeed("compile.py", *RANDOM, "--batch", "2")
    spread = ("--all-cores", "--batch", "8")
    neuron.succeed("inference.py", "--model", "housing.pt", *spread, *LOAD)
    expected = {"call": f"torch_{target}.DataParallel", "shape": [8, 11]}
    executions = calls(programs)[1:]
    assert len(executions) >= 4
    assert all(each == expected for each in executions)


def test_all_cores_requires_neuron(trained: Trained, programs: Programs) -> None:
    model = str(trained.folder / "housing.pt")
    done = programs.run("inference.py", "--model", model, "--all-cores", *LOAD)
    expected = "inference.py: --all-cores: requires NeuronCores (the target is the CPU)\n"
    assert (done.status, done.err) == (1, expected)


def test_cpu_model_on_neuron_requires_a_flag(trained: Trained, programs: Programs) -> None:
    neuron = with_stand_in(programs, "neuronx")
    model = str(trained.folder / "housing.pt")
    done = neuron.run("inference.py", "--model", model, *LOAD)
    assert done.status == 1
    assert done.err.endswith("compile it with --target neuronx, or run it with --target cpu\n")
    printed = neuron.succeed("inference.py", "--model", model, "--target", "cpu", *LOAD)
    assert "on the CPU" in printed


def test_placeholder_package_is_rejected(programs: Programs) -> None:
    done = with_stand_in(programs, "placeholder").run("compile.py", *RANDOM)
    assert done.status == 1
    assert done.err.startswith("compile.py: torch_neuronx is PyPI's empty placeholder")


@pytest.mark.parametrize("wrong_by", ["0.5", "nan"])
def test_inaccurate_model_is_not_stored(programs: Programs, wrong_by: str) -> None:
    neuron = with_stand_in(programs, "neuronx", WRONG_BY=wrong_by)
    done = neuron.run("compile.py", *RANDOM, "--tolerance", "0.001")
    assert done.status == 1
    assert "the compiled model's output differs by " in done.err
    assert done.err.endswith("nothing was stored\n")
    assert file_names(programs.folder) == {"calls"}


@pytest.mark.parametrize("fails", ["load", "run"])
def test_unusable_device(programs: Programs, fails: str) -> None:
    """A model that compiles but cannot be run ends with one line and is not stored."""
    done = with_stand_in(programs, "neuronx", NO_DEVICE=fails).run("compile.py", *RANDOM)
    assert done.status == 1
    assert done.err.startswith("compile.py: the compiled model cannot be run for the check: ")
    assert "size" in done.err
    assert len(done.err.splitlines()) == 1
    assert file_names(programs.folder) == {"calls"}


def test_sigterm_removes_unfinished_files(programs: Programs) -> None:
    neuron = with_stand_in(programs, "neuronx", ENDLESS="1")
    with neuron.running("compile.py", *RANDOM) as process:
        wait_for(lambda: "calls" in file_names(programs.folder), 60)
        assert len(file_names(programs.folder)) == 2
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "compile.py: interrupted\n")
    assert file_names(programs.folder) == {"calls"}


def test_compiling_has_a_tag(programs: Programs) -> None:
    """The check runs the model, so the exporter shows the compiling process by its tag."""
    Programs(programs.python, programs.folder, **{TAG: "nightly"}).with_stand_in(
        "neuronx", CALLS=str(programs.folder / "calls")
    ).succeed("compile.py", *RANDOM)
    assert calls(programs)[0]["tag"] == "nightly"


def test_stand_ins_reject_undocumented_arguments(programs: Programs) -> None:
    code = (
        "import torch, torch_neuronx, json\n"
        "try:\n    torch_neuronx.trace(torch.nn.ReLU().eval(), torch.rand(1), target='inf2')\n"
        "except TypeError:\n    print(json.dumps('rejected'))"
    )
    path = Path(__file__).parent / "standins" / "neuronx"
    assert programs.evaluate(f"import sys; sys.path.insert(0, {str(path)!r})\n{code}") == "rejected"
