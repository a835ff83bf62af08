"""What compile.py refuses, and that it leaves nothing half behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.programs import Programs, can_import, left
from tests.workloads.conftest import Bucket, Trained

pytestmark = pytest.mark.workloads

WARNING = "WARNING: no Neuron package is installed"
RANDOM = ("housing", "--weights", "none")


@pytest.fixture(scope="module")
def weights(
    trained: Trained, with_torch: Path, tmp_path_factory: pytest.TempPathFactory
) -> Programs:
    """The programs in a folder of files that are weights, nearly weights, and none."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("model.pt", "example.pt"):
        (folder / name).write_bytes((trained.folder / name).read_bytes())
    (folder / "text.txt").write_text("no weights")
    programs = Programs(with_torch, folder)
    programs.evaluate(
        "import torch; torch.save(torch.rand(1, 12), 'wide.pt')\n"
        "saved = torch.load('model.pt', weights_only=True)\n"
        "saved['state']['0.weight'] = torch.rand(256, 12)\n"
        "torch.save(saved, 'other.pt')"
    )
    return programs


def complaint(err: str) -> str:
    """The one line that says what is wrong."""
    lines = [line for line in err.splitlines() if not line.startswith("WARNING")]
    assert len(lines) == 1, err
    return lines[0]


def test_the_cpu_is_said_loudly(programs: Programs) -> None:
    """Who expected an accelerator is told that there is none; who asked for the CPU is not."""
    assert WARNING in programs.run("compile.py", *RANDOM).err
    assert programs.run("compile.py", *RANDOM, "--target", "cpu").err == ""
    assert left(programs.folder) == {"housing.pt", "housing.pt.json"}


def test_several_inputs_at_once_are_one_execution(programs: Programs) -> None:
    """--batch is the first number of the shape that is compiled."""
    printed = programs.succeed("compile.py", *RANDOM, "--batch", "4")
    assert "compiling housing [4, 11] for cpu" in printed


@pytest.mark.parametrize("program", ["compile.py", "inference.py", "housing.py"])
def test_help_needs_no_pytorch(tmp_path: Path, program: str) -> None:
    """Flags can be read wherever there is a Python; what is missing for more is said."""
    assert not can_import(Path(sys.executable), "torch")
    done = Programs(Path(sys.executable), tmp_path).run(program, "--help")
    assert done.status == 0
    assert f"usage: {program}" in done.out


def test_pytorch_that_is_missing_is_said(tmp_path: Path) -> None:
    """One line names what is not installed."""
    done = Programs(Path(sys.executable), tmp_path).run("compile.py", *RANDOM)
    assert (done.status, done.err) == (1, "compile.py: torch is not installed\n")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("housing",), "--weights: housing has none of its own"),
        (("housing", "--weights", "nowhere.pt"), "--weights: nowhere.pt cannot be read: No such"),
        (("housing", "--weights", "text.txt"), "text.txt is not a file of PyTorch's weights"),
        (("housing", "--weights", "example.pt"), "example.pt is not a checkpoint that"),
        (("housing", "--weights", "other.pt"), "--weights: other.pt does not fit this model: size"),
        ((*RANDOM, "--example", "wide.pt"), "--example: housing takes [1, 11], and it has [1, 12]"),
        ((*RANDOM, "--compiler-args=-O1"), "--compiler-args: the CPU has no compiler"),
        ((*RANDOM, "--model", "no/folder/m.pt"), "cannot be written to: No such file"),
        ((*RANDOM, "--model", "."), ". is a folder; name a file in it"),
        ((*RANDOM, "--model", "s3://bucket"), "s3://bucket: must be s3://BUCKET/KEY"),
        ((*RANDOM, "--target", "neuronx"), "torch_neuronx cannot be imported, which neuronx needs"),
        (("resnet50", "--weights", "none"), "resnet50 is torchvision's, which cannot be imported"),
        (
            ("housing", "--weights", "model.pt", "--model", "model.pt"),
            "would overwrite the weights",
        ),
    ],
)
def test_what_cannot_be_compiled_is_said_in_one_line(
    weights: Programs, flags: tuple[str, ...], told: str
) -> None:
    """Status 1, one line that names what is wrong, and no file that was not there before."""
    before = left(weights.folder)
    done = weights.run("compile.py", *flags)
    assert done.status == 1
    assert told in complaint(done.err)
    assert left(weights.folder) == before


@pytest.mark.parametrize(
    "flags",
    [("alexnet",), ("--batch", "0"), ("--tolerance", "nan"), ("--mod", "x"), ("--target", "x")],
)
def test_wrong_flags_are_wrong_use(programs: Programs, flags: tuple[str, ...]) -> None:
    """Status 2, and the flag is named."""
    done = programs.run("compile.py", *flags)
    assert done.status == 2
    assert done.err.startswith("usage: compile.py")


def test_a_bucket_that_there_is_not_is_said_before_compiling(
    programs: Programs, bucket: Bucket
) -> None:
    """A long compilation does not end with a bucket's misspelt name."""
    there = Programs(programs.python, programs.folder, **bucket.environment)
    done = there.run("compile.py", *RANDOM, "--model", "s3://no-such-bucket/m.pt")
    assert done.status == 1
    assert complaint(done.err) == "compile.py: s3://no-such-bucket/m.pt: there is no such bucket"
    assert "compiling" not in done.out


def test_a_model_without_its_description_is_not_left_in_a_folder(programs: Programs) -> None:
    """Where the description cannot be stored, the model goes as well."""
    (programs.folder / "m.pt.json").mkdir()
    done = programs.run("compile.py", *RANDOM, "--model", "m.pt")
    assert done.status == 1
    assert complaint(done.err) == "compile.py: m.pt.json cannot be written: Is a directory"
    assert left(programs.folder) == {"m.pt.json"}
