"""The paths of Neuron, with stand-ins for the packages that only run beside the hardware."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import TAG, Programs, left
from tests.support.waiting import wait_for
from tests.workloads.conftest import Trained

pytestmark = pytest.mark.workloads

RANDOM = ("housing", "--weights", "none")
LOAD = ("--rate", "20", "--duration", "0.2", "--metrics-port", "0")


def calls(programs: Programs) -> list[dict[str, Any]]:
    """What the stand-in was asked for."""
    return [json.loads(line) for line in (programs.folder / "calls").read_text().splitlines()]


def beside(programs: Programs, standin: str, **environment: str) -> Programs:
    """The programs beside a stand-in that notes its calls."""
    return programs.beside(standin, CALLS=str(programs.folder / "calls"), **environment)


@pytest.mark.parametrize(
    ("target", "given"), [("neuronx", ["-O1", "--auto-cast", "none"]), ("neuron", ["-O1"])]
)
def test_each_package_is_called_as_documented(
    programs: Programs, target: str, given: list[str]
) -> None:
    """The package that is installed decides the target, and gets model, example and flags."""
    there = beside(programs, target)
    done = there.run("compile.py", *RANDOM, "--batch", "2", f"--compiler-args={' '.join(given)}")
    assert (done.status, done.err) == (0, "")
    assert calls(programs) == [
        {
            "call": f"torch_{target}.trace",
            "shape": [2, 11],
            "compiler_args": given,
            "tag": "compile",
        }
    ]
    told = json.loads((programs.folder / "housing.pt.json").read_text())
    assert told["target"] == target
    assert told["check"]["tolerance"] == 0.05


@pytest.mark.parametrize("target", ["neuronx", "neuron"])
def test_what_was_compiled_for_neuron_runs_beside_its_package_alone(
    programs: Programs, target: str
) -> None:
    """It runs where the package is, under its tag; elsewhere one line says what it is for."""
    there = beside(programs, target)
    there.succeed("compile.py", *RANDOM)
    printed = there.succeed("inference.py", "--model", "housing.pt", "--tag", "shop", *LOAD)
    assert f"housing [1, 11] on {target}, tag shop" in printed
    done = programs.run("inference.py", "--model", "housing.pt", *LOAD)
    assert done.status == 1
    assert done.err == (
        f"inference.py: housing.pt was compiled for {target}, and this is cpu: compile it with "
        "--target cpu\n"
    )


@pytest.mark.parametrize("target", ["neuronx", "neuron"])
def test_a_request_is_spread_over_all_cores_whole(programs: Programs, target: str) -> None:
    """DataParallel gets the loaded model, and all batches of a request at once."""
    there = beside(programs, target)
    there.succeed("compile.py", *RANDOM, "--batch", "2")
    spread = ("--all-cores", "--batch", "8")
    there.succeed("inference.py", "--model", "housing.pt", *spread, *LOAD)
    made = calls(programs)[1:]
    assert len(made) >= 4
    assert all(each == {"call": f"torch_{target}.DataParallel", "shape": [8, 11]} for each in made)


def test_all_cores_are_neurons(trained: Trained, programs: Programs) -> None:
    """On the CPU there are none to spread over."""
    model = str(trained.folder / "housing.pt")
    done = programs.run("inference.py", "--model", model, "--all-cores", *LOAD)
    told = "inference.py: --all-cores: means NeuronCores, and this is the CPU\n"
    assert (done.status, done.err) == (1, told)


def test_a_model_for_the_cpu_does_not_run_beside_an_idle_accelerator(
    trained: Trained, programs: Programs
) -> None:
    """Who wants that says so."""
    there = beside(programs, "neuronx")
    model = str(trained.folder / "housing.pt")
    done = there.run("inference.py", "--model", model, *LOAD)
    assert done.status == 1
    assert done.err.endswith("compile it with --target neuronx, or run it with --target cpu\n")
    printed = there.succeed("inference.py", "--model", model, "--target", "cpu", *LOAD)
    assert "on the CPU" in printed


def test_the_placeholder_of_pypi_is_told_from_the_package(programs: Programs) -> None:
    """Its name alone would otherwise fail in the middle of compiling."""
    done = beside(programs, "placeholder").run("compile.py", *RANDOM)
    assert done.status == 1
    assert done.err.startswith("compile.py: torch_neuronx is only the placeholder of PyPI")


@pytest.mark.parametrize("wrong_by", ["0.5", "nan"])
def test_a_model_that_was_compiled_wrongly_is_not_stored(programs: Programs, wrong_by: str) -> None:
    """More than the tolerance, or no number at all, and nothing is left behind."""
    there = beside(programs, "neuronx", WRONG_BY=wrong_by)
    done = there.run("compile.py", *RANDOM, "--tolerance", "0.001")
    assert done.status == 1
    assert "the compiled model differs by " in done.err
    assert done.err.endswith("nothing was stored\n")
    assert left(programs.folder) == {"calls"}


@pytest.mark.parametrize("fails", ["load", "run"])
def test_a_device_that_cannot_be_used_is_said_after_compiling(
    programs: Programs, fails: str
) -> None:
    """One line tells that compiling was well and running was not, and nothing is left behind."""
    done = beside(programs, "neuronx", NO_DEVICE=fails).run("compile.py", *RANDOM)
    assert done.status == 1
    assert done.err.startswith("compile.py: compiled, and cannot be run here to be checked: ")
    assert "size" in done.err
    assert len(done.err.splitlines()) == 1
    assert left(programs.folder) == {"calls"}


def test_a_signal_while_it_compiles_leaves_nothing_behind(programs: Programs) -> None:
    """A Job that is deleted, or Ctrl-C: what is unfinished goes."""
    there = beside(programs, "neuronx", ENDLESS="1")
    with there.running("compile.py", *RANDOM) as process:
        wait_for(lambda: "calls" in left(programs.folder), 60)
        assert len(left(programs.folder)) == 2
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (1, "compile.py: interrupted\n")
    assert left(programs.folder) == {"calls"}


def test_the_runtime_gets_the_tag_before_it_starts(programs: Programs) -> None:
    """Compiling runs the model once: the exporter shows that process by name as well."""
    Programs(programs.python, programs.folder, **{TAG: "nightly"}).beside(
        "neuronx", CALLS=str(programs.folder / "calls")
    ).succeed("compile.py", *RANDOM)
    assert calls(programs)[0]["tag"] == "nightly"


def test_stand_ins_refuse_what_is_not_documented(programs: Programs) -> None:
    """A test of calls is worth something only while a wrong call fails."""
    code = (
        "import torch, torch_neuronx, json\n"
        "try:\n    torch_neuronx.trace(torch.nn.ReLU().eval(), torch.rand(1), target='inf2')\n"
        "except TypeError:\n    print(json.dumps('refused'))"
    )
    path = Path(__file__).parent / "standins" / "neuronx"
    assert programs.evaluate(f"import sys; sys.path.insert(0, {str(path)!r})\n{code}") == "refused"
