"""Running a compiled model: on pictures, and under load."""

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

from tests.support.programs import TAG, Programs, left, metrics_url
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
from PIL import Image
Image.new("RGB", (40, 30), (255, 0, 0)).save("red.png")
Image.new("L", (3, 900), 128).save("grey.jpg")
"""


def described(model: Path, shape: list[int], **details: Any) -> dict[str, Any]:
    """The description of a model that a test made."""
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


def before_its_end(picture: bytes, kind: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk behind its pixels."""
    chunk = struct.pack(">I", len(content)) + kind + content
    end = picture.rindex(b"IEND") - 4
    return picture[:end] + chunk + struct.pack(">I", zlib.crc32(kind + content)) + picture[end:]


@pytest.fixture(scope="module")
def made(with_torch: Path, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """The programs in a folder with models whose answers are known, and pictures."""
    folder = tmp_path_factory.mktemp("made")
    programs = Programs(with_torch, folder)
    programs.evaluate(KNOWN)
    for name, shape, details in (
        ("known", [1, 3, 4, 4], {"picture": PICTURE, "labels": LABELS}),
        ("mean", [2, 3, 4, 4], {"picture": PICTURE}),
        ("slow", [1, 400, 400], {}),
    ):
        model = folder / f"{name}.pt"
        (folder / f"{name}.pt.json").write_text(json.dumps(described(model, shape, **details)))
    (folder / "text.png").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "red.png").read_bytes()[:60])
    red = (folder / "red.png").read_bytes()
    (folder / "profile.png").write_bytes(before_its_end(red, b"iCCP", b"x"))
    (folder / "no-profile.png").write_bytes(before_its_end(red, b"iCCP", b""))
    (folder / "some").mkdir()
    for name in ("red.png", "grey.jpg"):
        (folder / "some" / name).write_bytes((folder / name).read_bytes())
    (folder / "some" / "notes.txt").write_text("not looked at")
    (folder / "none").mkdir()
    return programs


def blocks(printed: str) -> dict[str, list[str]]:
    """The lines below each picture, by its name."""
    found: dict[str, list[str]] = {}
    for line in printed.splitlines()[1:]:
        if line.startswith("  "):
            found[next(reversed(found))].append(line.strip())
        else:
            found[line.split(" (")[0]] = []
    return found


def test_the_five_most_probable_classes_of_a_known_vector(made: Programs) -> None:
    """Names and probabilities are those of the softmax, the most probable first."""
    printed = made.succeed("inference.py", "--model", "known.pt", "red.png")
    assert blocks(printed)["red.png"] == [
        "40.00%  tabby",
        "30.00%  tiger cat",
        "12.00%  lynx",
        "10.00%  Egyptian cat",
        "5.00%  tiger",
    ]


def test_a_folder_is_all_its_pictures_and_classes_without_names_are_numbers(
    made: Programs,
) -> None:
    """What goes in is the picture: red is the first channel, grey is all three alike."""
    printed = made.succeed("inference.py", "--model", "mean.pt", "some")
    found = blocks(printed)
    assert list(found) == ["some/grey.jpg", "some/red.png"]
    assert found["some/red.png"] == ["100.00%  class 0", "0.00%  class 1", "0.00%  class 2"]
    assert {line.split()[0] for line in found["some/grey.jpg"]} == {"33.33%"}


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        ("text.png", "text.png is no picture that can be read"),
        ("cut.png", "cut.png cannot be read: "),
        ("profile.png", "profile.png cannot be read: Unknown compression method"),
        ("no-profile.png", "no-profile.png cannot be read: "),
        ("nowhere.png", "nowhere.png cannot be read: No such file or directory"),
        ("none", "none: no pictures in this folder (.bmp, .gif, .jpeg, .jpg, .png, .webp)"),
    ],
)
def test_a_picture_that_cannot_be_read_is_named(made: Programs, picture: str, told: str) -> None:
    """One line, status 1."""
    done = made.run("inference.py", "--model", "known.pt", picture)
    assert done.status == 1
    assert done.err.startswith(f"inference.py: {told}")
    assert len(done.err.splitlines()) == 1


# Models that cannot be run


def damaged(folder: Path, kind: str) -> None:
    """Damage the model and its description in a folder."""
    model, beside = folder / "m.pt", folder / "m.pt.json"
    told = json.loads(beside.read_text())
    content = bytearray(model.read_bytes())
    match kind:
        case "missing":
            model.unlink()
        case "undescribed":
            beside.unlink()
        case "flipped":
            content[len(content) // 2] ^= 1
            model.write_bytes(content)
        case "cut":
            model.write_bytes(content[:1000])
        case "no model":
            model.write_bytes(b"no model")
            told["sha256"] = hashlib.sha256(b"no model").hexdigest()
            beside.write_text(json.dumps(told))
        case "no description":
            beside.write_text("[]")
        case "another format":
            beside.write_text(json.dumps({**told, "format": 2}))
        case "another target":
            beside.write_text(json.dumps({**told, "target": "neuronx"}))
        case "another shape":
            beside.write_text(json.dumps({**told, "shape": [1, 12]}))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("missing", "m.pt: there is no such file"),
        ("undescribed", "m.pt.json cannot be read: No such file or directory"),
        ("flipped", "m.pt is not the file that m.pt.json describes: it has"),
        ("cut", "m.pt is not the file that m.pt.json describes: it has 1000 bytes of"),
        ("no model", "m.pt cannot be loaded: "),
        ("no description", "m.pt.json is not a description that compile.py wrote"),
        ("another format", "m.pt.json has format 2; this program reads 1"),
        ("another target", "m.pt was compiled for neuronx, and this is cpu: compile it with"),
        ("another shape", "the model does not take what its description says it takes, [1, 12]: "),
    ],
)
def test_a_model_that_cannot_be_run_is_told_from_others(
    trained: Trained, programs: Programs, kind: str, told: str
) -> None:
    """One line says which of model and description is wrong, and how; status 1."""
    for name in (".pt", ".pt.json"):
        content = (trained.folder / f"housing{name}").read_bytes()
        (programs.folder / f"m{name}").write_bytes(content)
    damaged(programs.folder, kind)
    before = left(programs.folder)
    done = programs.run("inference.py", "--model", "m.pt", "--duration", "1", "--metrics-port", "0")
    assert done.status == 1
    assert done.err.startswith(f"inference.py: {told}")
    assert len(done.err.splitlines()) == 1
    assert left(programs.folder) == before


SCALING = {"features": ["age"], "mean": [1.0], "std": [2.0], "dollars": 100_000.0}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"shape": "1x11"},
            "shape must be 1 to 8 whole numbers above 0, with a product of at most",
        ),
        ({"shape": [1, 0]}, "(got [1, 0])"),
        ({"shape": [True, 11]}, "(got [true, 11])"),
        ({"shape": [1] * 9}, "(got [1, 1, 1, 1, 1, 1, 1, 1, 1])"),
        ({"shape": [1 << 20, 1 << 20]}, "(got [1048576, 1048576])"),
        ({"model": ["housing"]}, 'model must be a line of text (got ["housing"])'),
        ({"size": -1}, "size must be a whole number above 0 (got -1)"),
        ({"details": []}, "details must be an object (got [])"),
        ({"details": {"labels": "cat"}}, 'details.labels must be a list of texts (got "cat")'),
        ({"details": {"picture": 7}}, "details.picture must be an object (got 7)"),
        (
            {"details": {"picture": {**PICTURE, "crop": 0}}},
            "details.picture.crop must be a whole number from 1 to 16384 (got 0)",
        ),
        (
            {"details": {"picture": {**PICTURE, "std": [0, 1, 1]}}},
            "details.picture.std must be 3 numbers above 0 (got [0, 1, 1])",
        ),
        (
            {"details": {"scaling": {**SCALING, "features": None}}},
            "details.scaling.features must be a list of texts (got null)",
        ),
        (
            {"details": {"scaling": {**SCALING, "mean": [1.0, 2.0]}}},
            "details.scaling.mean must be 1 numbers, as there are features (got [1.0, 2.0])",
        ),
        (
            {"details": {"scaling": {**SCALING, "std": [float("nan")]}}},
            "details.scaling.std must be 1 numbers above 0, one for each feature (got [NaN])",
        ),
        (
            {"details": {"scaling": {**SCALING, "dollars": "100000"}}},
            'details.scaling.dollars must be a number (got "100000")',
        ),
    ],
)
def test_a_description_is_read_with_suspicion(
    made: Programs, tmp_path: Path, changed: dict[str, Any], told: str
) -> None:
    """The value that is wrong is named and what is allowed, before the model is looked at."""
    (tmp_path / "m.pt").write_bytes(b"never looked at")
    description = {**described(tmp_path / "m.pt", [1, 11]), **changed}
    (tmp_path / "m.pt.json").write_text(json.dumps(description))
    done = Programs(made.python, tmp_path).run("inference.py", "--model", "m.pt", "red.png")
    assert done.status == 1
    assert done.err.startswith(
        "inference.py: m.pt.json is not a description that compile.py wrote: "
    )
    assert told in done.err
    assert len(done.err.splitlines()) == 1


def test_pictures_are_for_models_that_take_pictures(trained: Trained, made: Programs) -> None:
    """A regressor does not guess at pixels."""
    model = str(trained.folder / "housing.pt")
    done = made.run("inference.py", "--model", model, "red.png")
    assert (done.status, done.err) == (1, "inference.py: housing takes no pictures\n")


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
def test_wrong_flags_are_wrong_use(made: Programs, flags: tuple[str, ...]) -> None:
    """Status 2, and the flag is named."""
    done = made.run("inference.py", "--model", "known.pt", *flags)
    assert done.status == 2
    assert f"argument {flags[0]}: " in done.err


# Under load


def samples(url: str) -> dict[str, float]:
    """What is served, by name with the labels le and process_tag."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 (loopback)
        text = answer.read().decode()
    return {
        f"{sample.name}{{{sample.labels.get('process_tag')}}}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def test_a_load_tells_percentiles_and_throughput(made: Programs) -> None:
    """So many requests a second are made for so long, each with so many inputs."""
    flags = ("--rate", "50", "--duration", "2", "--batch", "6", "--metrics-port", "0")
    last = made.succeed("inference.py", "--model", "mean.pt", *flags).splitlines()[-1]
    assert last.startswith("100 requests  p50 ")
    assert all(f"  p{each} " in last for each in (50, 90, 99, 100))
    assert "requests/s of 50 asked for" in last
    rates = [float(each.split()[0]) for each in last.split("  ")[-2:]]
    assert rates[1] == pytest.approx(6 * rates[0], rel=0.01)


def test_a_batch_is_one_of_whole_executions(made: Programs) -> None:
    """What the model was compiled for decides which batches there are."""
    done = made.run("inference.py", "--model", "mean.pt", "--batch", "3", "--metrics-port", "0")
    assert done.status == 1
    assert "--batch: must be a multiple of 2, the model's own batch (got 3)" in done.err


def test_metrics_carry_the_tag_and_a_signal_ends_the_load(trained: Trained, made: Programs) -> None:
    """A service has no other end than SIGTERM: it says how it went, and that is success."""
    tagged = Programs(made.python, made.folder, **{TAG: "shop"})
    model = str(trained.folder / "housing.pt")
    with tagged.running("inference.py", "--model", model, "--metrics-port", "0") as process:
        url = metrics_url(process)
        wait_for(lambda: samples(url)["inference_inputs_total{shop}"] >= 5)
        found = samples(url)
        assert found["inference_latency_seconds_count{shop}"] >= 5
        assert found["inference_model_info{shop}"] == 1
        assert found["inference_execution_seconds_sum{shop}"] > 0
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
        assert "requests  p50 " in out.splitlines()[-1]


def test_without_a_tag_the_model_gives_its_name(made: Programs) -> None:
    """A process is never shown by its number alone; --tag goes before the variable."""
    flags = ("--rate", "50", "--duration", "0.1", "--metrics-port", "0")
    assert "tag known" in made.succeed("inference.py", "--model", "known.pt", *flags)
    tagged = Programs(made.python, made.folder, **{TAG: "shop"})
    printed = tagged.succeed("inference.py", "--model", "known.pt", "--tag", "mine", *flags)
    assert "tag mine" in printed


def test_latency_counts_from_the_time_that_a_request_was_due(made: Programs) -> None:
    """A model that is too slow for its load shows a latency that grows, not its own duration."""
    flags = ("--rate", "1000", "--duration", "1", "--metrics-port", "0")
    with made.running("inference.py", "--model", "slow.pt", *flags) as process:
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


def test_a_port_that_is_taken_is_said(made: Programs) -> None:
    """Two loads on one machine need two ports."""
    with made.running("inference.py", "--model", "known.pt", "--metrics-port", "0") as process:
        port = metrics_url(process).rpartition(":")[2].partition("/")[0]
        done = made.run("inference.py", "--model", "known.pt", "--metrics-port", port)
        told = (
            f"inference.py: --metrics-port: {port} cannot be listened on: Address already in use\n"
        )
        assert (done.status, done.err) == (1, told)
