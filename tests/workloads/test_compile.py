"""Errors of compile.py, and that it leaves no incomplete files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.programs import Programs, can_import, file_names
from tests.workloads.conftest import Bucket, Trained

pytestmark = pytest.mark.workloads

WARNING = "WARNING: no Neuron package is installed"
RANDOM = ("housing", "--weights", "none")


@pytest.fixture(scope="module")
def weights(
    trained: Trained, with_torch: Path, tmp_path_factory: pytest.TempPathFactory
) -> Programs:
    """Return the programs in a folder of valid and invalid weights files."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("model.pt", "example.pt"):
        (folder / name).write_bytes((trained.folder / name).read_bytes())
    (folder / "text.txt").write_text("text")
    programs = Programs(with_torch, folder)
    programs.evaluate(
        "import torch; torch.save(torch.rand(1, 12), 'wide.pt')\n"
        "saved = torch.load('model.pt', weights_only=True)\n"
        "saved['state']['0.weight'] = torch.rand(256, 12)\n"
        "torch.save(saved, 'other.pt')"
    )
    return programs


def error_line(err: str) -> str:
    """Return the only line on standard error that is not a warning."""
    lines = [line for line in err.splitlines() if not line.startswith("WARNING")]
    assert len(lines) == 1, err
    return lines[0]


def test_compiling_for_the_cpu_by_default_warns(programs: Programs) -> None:
    assert WARNING in programs.run("compile.py", *RANDOM).err
    assert programs.run("compile.py", *RANDOM, "--target", "cpu").err == ""
    assert file_names(programs.folder) == {"housing.pt", "housing.pt.json"}


def test_batch_is_the_first_dimension(programs: Programs) -> None:
    printed = programs.succeed("compile.py", *RANDOM, "--batch", "4")
    assert "compiling housing [4, 11] for cpu" in printed


@pytest.mark.parametrize("program", ["compile.py", "inference.py", "housing.py"])
def test_help_needs_no_pytorch(tmp_path: Path, program: str) -> None:
    assert not can_import(Path(sys.executable), "torch")
    done = Programs(Path(sys.executable), tmp_path).run(program, "--help")
    assert done.status == 0
    assert f"usage: {program}" in done.out


def test_missing_pytorch_is_an_error(tmp_path: Path) -> None:
    done = Programs(Path(sys.executable), tmp_path).run("compile.py", *RANDOM)
    assert (done.status, done.err) == (1, "compile.py: torch is not installed\n")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("housing",), "--weights: housing has no pretrained weights"),
        (("housing", "--weights", "nowhere.pt"), "--weights: nowhere.pt cannot be read: No such"),
        (
            ("housing", "--weights", "text.txt"),
            "--weights: text.txt is not a file of PyTorch tensors",
        ),
        (("housing", "--weights", "example.pt"), "example.pt is not a checkpoint written by"),
        (
            ("housing", "--weights", "other.pt"),
            "--weights: other.pt does not match this model: size",
        ),
        (
            (*RANDOM, "--example", "wide.pt"),
            "--example: must have shape [1, 11] for housing (got [1, 12])",
        ),
        ((*RANDOM, "--compiler-args=-O1"), "--compiler-args: not supported for the CPU"),
        ((*RANDOM, "--model", "no/folder/m.pt"), "no/folder is not writable: No such file"),
        ((*RANDOM, "--model", "."), ". is a directory; specify a file"),
        ((*RANDOM, "--model", "s3://bucket"), "s3://bucket: must be s3://BUCKET/KEY"),
        (
            (*RANDOM, "--target", "neuronx"),
            "target neuronx requires torch_neuronx, which cannot be imported",
        ),
        (
            ("resnet50", "--weights", "none"),
            "resnet50 requires torchvision, which cannot be imported",
        ),
        (
            ("housing", "--weights", "model.pt", "--model", "model.pt"),
            "would overwrite the weights",
        ),
    ],
)
def test_failure(weights: Programs, flags: tuple[str, ...], expected: str) -> None:
    """Invalid input ends with status 1, one line on standard error, and no new file."""
    before = file_names(weights.folder)
    done = weights.run("compile.py", *flags)
    assert done.status == 1
    assert expected in error_line(done.err)
    assert file_names(weights.folder) == before


@pytest.mark.parametrize(
    "flags",
    [("alexnet",), ("--batch", "0"), ("--tolerance", "nan"), ("--mod", "x"), ("--target", "x")],
)
def test_invalid_flags_exit_with_status_2(programs: Programs, flags: tuple[str, ...]) -> None:
    done = programs.run("compile.py", *flags)
    assert done.status == 2
    assert done.err.startswith("usage: compile.py")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            ("--compiler-args='-O1",),
            "argument --compiler-args: must be words as in a shell: No closing quotation "
            '(got "\'-O1")',
        ),
        (("--batch", "1025"), "argument --batch: must be an integer from 1 to 1024 (got '1025')"),
    ],
)
def test_flags_are_checked_before_anything_is_loaded(
    tmp_path: Path, flags: tuple[str, ...], expected: str
) -> None:
    done = Programs(Path(sys.executable), tmp_path).run("compile.py", *RANDOM, *flags)
    assert done.status == 2
    assert done.err.splitlines()[-1] == f"compile.py: error: {expected}"


def test_missing_bucket_fails_before_compiling(programs: Programs, bucket: Bucket) -> None:
    with_s3 = Programs(programs.python, programs.folder, **bucket.environment)
    done = with_s3.run("compile.py", *RANDOM, "--model", "s3://no-such-bucket/m.pt")
    assert done.status == 1
    assert error_line(done.err) == "compile.py: s3://no-such-bucket/m.pt: the bucket does not exist"
    assert "compiling" not in done.out


def test_model_is_removed_if_metadata_cannot_be_stored(programs: Programs) -> None:
    (programs.folder / "m.pt.json").mkdir()
    done = programs.run("compile.py", *RANDOM, "--model", "m.pt")
    assert done.status == 1
    assert error_line(done.err) == "compile.py: m.pt.json cannot be written: Is a directory"
    assert file_names(programs.folder) == {"m.pt.json"}
