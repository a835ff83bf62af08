"""Running a compiled model on pictures and under load."""

from __future__ import annotations

import hashlib
import json
import signal
import struct
import time
import urllib.request
import zlib
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.programs import TAG, Programs, file_names, metrics_url
from tests.support.waiting import wait_for
from tests.workloads.conftest import Trained

pytestmark = pytest.mark.workloads

PICTURE = {"resize": 8, "crop": 4, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
LABELS = ["tench", "goldfish", "tabby", "tiger", "lynx", "Egyptian cat", "tiger cat"]
PROBABILITIES = [0.01, 0.02, 0.4, 0.05, 0.12, 0.1, 0.3]

KNOWN = """
import torch
class Known(torch.nn.Module):
    def forward(self, inputs):
        known = torch.tensor([0.01, 0.02, 0.4, 0.05, 0.12, 0.1, 0.3]).log() + 7
        return known.repeat(len(inputs), 1) + 0 * inputs.sum()
class Mean(torch.nn.Module):
    def forward(self, inputs):
        return inputs.mean(dim=(2, 3)) * 10
class Slow(torch.nn.Module):
    def forward(self, inputs):
        for _ in range(150):
            inputs = torch.tanh(inputs @ torch.ones(400, 400))
        return inputs
torch.jit.save(torch.jit.trace(Known(), torch.rand(1, 3, 4, 4)), "known.pt")
torch.jit.save(torch.jit.trace(Mean(), torch.rand(2, 3, 4, 4)), "mean.pt")
torch.jit.save(torch.jit.trace(Slow(), torch.rand(1, 400, 400)), "slow.pt")
class Fixed(torch.nn.Module):
    def forward(self, inputs):
        return (inputs + torch.zeros(4, 3)).sum(dim=1, keepdim=True)
torch.jit.save(torch.jit.trace(Fixed(), torch.rand(4, 3)), "fixed.pt")
from PIL import Image
Image.new("RGB", (40, 30), (255, 0, 0)).save("red.png")
Image.new("L", (3, 900), 128).save("grey.jpg")
"""


def metadata_of(model: Path, shape: list[int], **details: Any) -> dict[str, Any]:
    """Return metadata for a model file of a test."""
    content = model.read_bytes()
    return {
        "format": 1,
        "model": model.stem,
        "target": "cpu",
        "shape": shape,
        "dtype": "float32",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "weights": "none",
        "seconds": 1.0,
        "check": {},
        "versions": {},
        "created": "2026-01-01T00:00:00+00:00",
        "details": details,
    }


def with_chunk(picture: bytes, kind: bytes, content: bytes) -> bytes:
    """Return a PNG with another chunk after its pixels."""
    chunk = struct.pack(">I", len(content)) + kind + content
    end = picture.rindex(b"IEND") - 4
    return picture[:end] + chunk + struct.pack(">I", zlib.crc32(kind + content)) + picture[end:]


@pytest.fixture(scope="module")
def prepared(with_torch: Path, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Return the programs in a folder with models of known outputs, and pictures."""
    folder = tmp_path_factory.mktemp("made")
    programs = Programs(with_torch, folder)
    programs.evaluate(KNOWN)
    for name, shape, details in (
        ("known", [1, 3, 4, 4], {"picture": PICTURE, "labels": LABELS}),
        ("mean", [2, 3, 4, 4], {"picture": PICTURE}),
        ("slow", [1, 400, 400], {}),
        ("fixed", [4, 3], {}),
    ):
        model = folder / f"{name}.pt"
        (folder / f"{name}.pt.json").write_text(json.dumps(metadata_of(model, shape, **details)))
    (folder / "text.png").write_text("text")
    (folder / "cut.png").write_bytes((folder / "red.png").read_bytes()[:60])
    red = (folder / "red.png").read_bytes()
    (folder / "profile.png").write_bytes(with_chunk(red, b"iCCP", b"x"))
    (folder / "no-profile.png").write_bytes(with_chunk(red, b"iCCP", b""))
    (folder / "some").mkdir()
    for name in ("red.png", "grey.jpg"):
        (folder / "some" / name).write_bytes((folder / name).read_bytes())
    (folder / "some" / "notes.txt").write_text("not a picture")
    (folder / "none").mkdir()
    return programs


def results(printed: str) -> dict[str, list[str]]:
    """Return the lines below each picture, by the picture's name."""
    found: dict[str, list[str]] = {}
    for line in printed.splitlines()[1:]:
        if line.startswith("  "):
            found[next(reversed(found))].append(line.strip())
        else:
            found[line.split(" (")[0]] = []
    return found


def test_five_most_probable_classes(prepared: Programs) -> None:
    printed = prepared.succeed("inference.py", "--model", "known.pt", "red.png")
    assert results(printed)["red.png"] == [
        "40.00%  tabby",
        "30.00%  tiger cat",
        "12.00%  lynx",
        "10.00%  Egyptian cat",
        "5.00%  tiger",
    ]


def test_folder_of_pictures(
    prepared: Programs,
) -> None:
    """All pictures are classified; without names, classes are numbers."""
    printed = prepared.succeed("inference.py", "--model", "mean.pt", "some")
    found = results(printed)
    assert list(found) == ["some/grey.jpg", "some/red.png"]
    assert found["some/red.png"] == ["100.00%  class 0", "0.00%  class 1", "0.00%  class 2"]
    assert {line.split()[0] for line in found["some/grey.jpg"]} == {"33.33%"}


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ("text.png", "text.png is not a readable picture"),
        ("cut.png", "cut.png cannot be read: "),
        ("profile.png", "profile.png cannot be read: Unknown compression method"),
        ("no-profile.png", "no-profile.png cannot be read: "),
        ("nowhere.png", "nowhere.png cannot be read: No such file or directory"),
        ("none", "none: no pictures in this directory (.bmp, .gif, .jpeg, .jpg, .png, .webp)"),
    ],
)
def test_unreadable_picture(prepared: Programs, picture: str, expected: str) -> None:
    done = prepared.run("inference.py", "--model", "known.pt", picture)
    assert done.status == 1
    assert done.err.startswith(f"inference.py: {expected}")
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8])
def test_any_number_of_inputs(prepared: Programs, count: int) -> None:
    """A model that is compiled for 4 inputs runs full batches only; each input has its output."""
    outputs = prepared.evaluate(f"""
import json, torch, inference
model = inference.load("fixed.pt", "cpu")
inputs = torch.arange({3 * count}).reshape({count}, 3).float()
print(json.dumps(model(inputs).tolist()))
""")
    assert outputs == [[9 * each + 3] for each in range(count)]


# Models that cannot be run


def damage(folder: Path, kind: str) -> None:
    """Damage the model or its metadata in a folder."""
    model, path = folder / "m.pt", folder / "m.pt.json"
    metadata = json.loads(path.read_text())
    content = bytearray(model.read_bytes())
    match kind:
        case "missing":
            model.unlink()
        case "no metadata":
            path.unlink()
        case "flipped":
            content[len(content) // 2] ^= 1
            model.write_bytes(content)
        case "cut":
            model.write_bytes(content[:1000])
        case "no model":
            model.write_bytes(b"no model")
            metadata["sha256"] = hashlib.sha256(b"no model").hexdigest()
            path.write_text(json.dumps(metadata))
        case "invalid metadata":
            path.write_text("[]")
        case "another format":
            path.write_text(json.dumps({**metadata, "format": 2}))
        case "another target":
            path.write_text(json.dumps({**metadata, "target": "neuronx"}))
        case "another shape":
            path.write_text(json.dumps({**metadata, "shape": [1, 12]}))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("missing", "m.pt does not exist"),
        ("no metadata", "m.pt.json cannot be read: No such file or directory"),
        ("flipped", "m.pt does not match its metadata m.pt.json: "),
        ("cut", "m.pt does not match its metadata m.pt.json: the SHA-256 differs (1000 bytes,"),
        ("no model", "m.pt cannot be loaded: "),
        ("invalid metadata", "m.pt.json is not a metadata file written by compile.py"),
        ("another format", "m.pt.json has format 2; this program reads 1"),
        (
            "another target",
            "m.pt was compiled for neuronx, but this machine's target is cpu: compile",
        ),
        ("another shape", "the model rejects the input shape of its metadata [1, 12]: "),
    ],
)
def test_unusable_model(trained: Trained, programs: Programs, kind: str, expected: str) -> None:
    """An unusable model ends with status 1, one line on standard error, and no new file."""
    for name in (".pt", ".pt.json"):
        content = (trained.folder / f"housing{name}").read_bytes()
        (programs.folder / f"m{name}").write_bytes(content)
    damage(programs.folder, kind)
    before = file_names(programs.folder)
    done = programs.run("inference.py", "--model", "m.pt", "--duration", "1", "--metrics-port", "0")
    assert done.status == 1
    assert done.err.startswith(f"inference.py: {expected}")
    assert len(done.err.splitlines()) == 1
    assert file_names(programs.folder) == before


SCALING = {"features": ["age"], "mean": [1.0], "std": [2.0], "dollars": 100_000.0}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {"shape": "1x11"},
            "shape must be 1 to 8 positive integers with a product of at most",
        ),
        ({"shape": [1, 0]}, "(got [1, 0])"),
        ({"shape": [True, 11]}, "(got [true, 11])"),
        ({"shape": [1] * 9}, "(got [1, 1, 1, 1, 1, 1, 1, 1, 1])"),
        ({"shape": [1 << 20, 1 << 20]}, "(got [1048576, 1048576])"),
        ({"model": ["housing"]}, 'model must be a line of text (got ["housing"])'),
        ({"size": -1}, "size must be a positive integer (got -1)"),
        ({"details": []}, "details must be an object (got [])"),
        ({"details": {"labels": "cat"}}, 'details.labels must be a list of strings (got "cat")'),
        ({"details": {"picture": 7}}, "details.picture must be an object (got 7)"),
        (
            {"details": {"picture": {**PICTURE, "crop": 0}}},
            "details.picture.crop must be an integer from 1 to 16384 (got 0)",
        ),
        (
            {"details": {"picture": {**PICTURE, "std": [0, 1, 1]}}},
            "details.picture.std must be 3 positive numbers (got [0, 1, 1])",
        ),
        (
            {"details": {"scaling": {**SCALING, "features": None}}},
            "details.scaling.features must be a list of strings (got null)",
        ),
        (
            {"details": {"scaling": {**SCALING, "mean": [1.0, 2.0]}}},
            "details.scaling.mean must be 1 numbers, one per feature (got [1.0, 2.0])",
        ),
        (
            {"details": {"scaling": {**SCALING, "std": [float("nan")]}}},
            "details.scaling.std must be 1 positive numbers, one per feature (got [NaN])",
        ),
        (
            {"details": {"scaling": {**SCALING, "dollars": "100000"}}},
            'details.scaling.dollars must be a number (got "100000")',
        ),
    ],
)
def test_invalid_metadata(
    prepared: Programs, tmp_path: Path, changed: dict[str, Any], expected: str
) -> None:
    """The error names the invalid value before the model is loaded."""
    (tmp_path / "m.pt").write_bytes(b"not loaded")
    metadata = {**metadata_of(tmp_path / "m.pt", [1, 11]), **changed}
    (tmp_path / "m.pt.json").write_text(json.dumps(metadata))
    done = Programs(prepared.python, tmp_path).run("inference.py", "--model", "m.pt", "red.png")
    assert done.status == 1
    assert done.err.startswith(
        "inference.py: m.pt.json is not a metadata file written by compile.py: "
    )
    assert expected in done.err
    assert len(done.err.splitlines()) == 1


def test_regressor_rejects_pictures(trained: Trained, prepared: Programs) -> None:
    model = str(trained.folder / "housing.pt")
    done = prepared.run("inference.py", "--model", model, "red.png")
    assert (done.status, done.err) == (1, "inference.py: housing does not classify pictures\n")


@pytest.mark.parametrize(
    "flags",
    [
        ("--rate", "0"),
        ("--duration", "-1"),
        ("--batch", "x"),
        ("--metrics-port", "65536"),
        ("--rate", "5", "red.png"),
    ],
)
def test_invalid_flags_exit_with_status_2(prepared: Programs, flags: tuple[str, ...]) -> None:
    done = prepared.run("inference.py", "--model", "known.pt", *flags)
    assert done.status == 2
    assert f"argument {flags[0]}: " in done.err


# Under load


def samples(url: str) -> dict[str, float]:
    """Return the samples by name and process_tag."""
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 (loopback)
        text = response.read().decode()
    return {
        f"{sample.name}{{{sample.labels.get('process_tag')}}}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def test_load_prints_percentiles_and_throughput(prepared: Programs) -> None:
    flags = ("--rate", "50", "--duration", "2", "--batch", "6", "--metrics-port", "0")
    last = prepared.succeed("inference.py", "--model", "mean.pt", *flags).splitlines()[-1]
    assert last.startswith("100 requests  p50 ")
    assert all(f"  p{each} " in last for each in (50, 90, 99, 100))
    assert "requests/s of 50 requested" in last
    rates = [float(each.split()[0]) for each in last.split("  ")[-2:]]
    assert rates[1] == pytest.approx(6 * rates[0], rel=0.01)


def test_batch_must_be_a_multiple_of_the_models(prepared: Programs) -> None:
    done = prepared.run("inference.py", "--model", "mean.pt", "--batch", "3", "--metrics-port", "0")
    assert done.status == 1
    assert "--batch: must be a multiple of 2, the model's batch (got 3)" in done.err


def test_metrics_have_the_tag_and_sigterm_ends_the_load(
    trained: Trained, prepared: Programs
) -> None:
    tagged = Programs(prepared.python, prepared.folder, **{TAG: "shop"})
    model = str(trained.folder / "housing.pt")
    with tagged.running("inference.py", "--model", model, "--metrics-port", "0") as process:
        url = metrics_url(process)
        wait_for(lambda: samples(url)["inference_inputs_total{shop}"] >= 5)
        found = samples(url)
        assert found["inference_latency_seconds_count{shop}"] >= 5
        assert found["inference_model_info{shop}"] == 1
        assert found["inference_execution_seconds_sum{shop}"] > 0
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert "requests  p50 " in out.splitlines()[-1]


def test_tag_defaults_to_the_models_name(prepared: Programs) -> None:
    flags = ("--rate", "50", "--duration", "0.1", "--metrics-port", "0")
    assert "tag known" in prepared.succeed("inference.py", "--model", "known.pt", *flags)
    tagged = Programs(prepared.python, prepared.folder, **{TAG: "shop"})
    printed = tagged.succeed("inference.py", "--model", "known.pt", "--tag", "mine", *flags)
    assert "tag mine" in printed


def test_latency_includes_waiting(prepared: Programs) -> None:
    """A model that is too slow for its load has a growing latency, not that of one execution."""
    flags = ("--rate", "1000", "--duration", "1", "--metrics-port", "0")
    with prepared.running("inference.py", "--model", "slow.pt", *flags) as process:
        url = metrics_url(process)
        started = time.monotonic()
        wait_for(lambda: samples(url)["inference_latency_seconds_count{slow}"] >= 20, 60)
        found = samples(url)
        waited = time.monotonic() - started
    count = found["inference_latency_seconds_count{slow}"]
    latency = found["inference_latency_seconds_sum{slow}"] / count
    execution = found["inference_execution_seconds_sum{slow}"] / count
    assert latency > 4 * execution
    assert latency < waited + 1


def test_port_in_use_is_an_error(prepared: Programs) -> None:
    with prepared.running("inference.py", "--model", "known.pt", "--metrics-port", "0") as process:
        port = metrics_url(process).rpartition(":")[2].partition("/")[0]
        done = prepared.run("inference.py", "--model", "known.pt", "--metrics-port", port)
        expected = (
            f"inference.py: --metrics-port: cannot listen on {port}: Address already in use\n"
        )
        assert (done.status, done.err) == (1, expected)
