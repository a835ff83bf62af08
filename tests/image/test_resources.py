"""Memory, CPU and layer size of a container, all its processes together."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.benchmarks.reports import moving
from tests.captures import FOLDER, MISSING
from tests.support.container import Container, Image, cloudwatch_variables, container
from tests.support.processes import cpu_seconds, proportional_set_size, resident
from tests.support.validating_endpoint import ValidatingEndpoint, validating_endpoint
from tests.support.waiting import wait_for

pytestmark = pytest.mark.image

SECONDS = 30.0
SCRAPES_EVERY = 5.0
MIB = 1024 * 1024


class Usage(NamedTuple):
    """Memory in MiB, CPU in cores."""

    pss: float
    rss: float
    cpu: float


def measure(running: Container, front: ValidatingEndpoint) -> Usage:
    """Return a container's usage while both sinks work, after every part has been used once."""
    wait_for(lambda: len(front.requests) >= 2)
    running.families()
    before = {pid: cpu_seconds(pid) for pid in running.processes()}
    began, windows, scraped = time.monotonic(), len(front.requests), -SCRAPES_EVERY
    pss: list[float] = []
    rss: list[float] = []
    while (elapsed := time.monotonic() - began) < SECONDS:
        if elapsed - scraped >= SCRAPES_EVERY:
            assert running.get("/metrics")[0] == 200
            scraped = elapsed
        pids = list(running.processes())
        pss.append(sum(map(proportional_set_size, pids)))
        rss.append(sum(map(resident, pids)))
        time.sleep(0.5)  # a sample, not a wait
    assert set(running.processes()) == before.keys(), "a process came or went while it was measured"
    used = sum(cpu_seconds(pid) - spent for pid, spent in before.items())
    assert len(front.requests) > windows
    assert front.rejected == []
    return Usage(max(pss), max(rss), used / (time.monotonic() - began))


def variables(front: ValidatingEndpoint, capture: Path, speed: float = 1) -> dict[str, str]:
    """Return variables that enable both sinks and replay a recording repeatedly."""
    return {
        "NEURON_EXPORTER__SOURCE__KIND": "file",
        "NEURON_EXPORTER__SOURCE__PATH": f"/captures/{capture.name}",
        "NEURON_EXPORTER__SOURCE__REPLAY": f"{{speed: {speed}, at_end: repeat}}",
        **cloudwatch_variables(front.url, capture.name.partition("_")[0], interval="5s"),
    }


def test_memory_with_the_largest_recording(
    image: Image, tmp_path: Path, thirty_two_runtimes: Path
) -> None:
    """With supervision, both sinks and a changing 445 kB report every 5 s, the container takes at
    most 96 MiB of its 128."""
    reports = tmp_path / "reports"
    reports.mkdir()
    capture = reports / thirty_two_runtimes.name
    capture.write_bytes(b"".join(islice(moving(thirty_two_runtimes.read_bytes()), 12)))
    with (
        validating_endpoint() as front,
        container(
            image,
            tmp_path,
            mounts={"/captures": reports},
            memory=128 * MIB,
            **variables(front, capture),
        ) as running,
    ):
        found = measure(running, front)
        print(f"PSS {found.pss:.1f} MiB, RSS {found.rss:.1f} MiB, CPU {100 * found.cpu:.2f} %")
        print("limited to 128 MiB" if running.is_limited else "no limit: no control groups here")
        assert found.pss < found.rss <= 96
        assert running.stop() == 0


def test_cpu_with_the_recording_of_an_inf1_xlarge(image: Image, tmp_path: Path) -> None:
    """With one Inferentia chip's reports, recorded 48 ms apart and replayed 5 s apart, the
    container takes less than 1 % of one core."""
    capture = FOLDER / "inf1.xlarge_2023-02_one_runtime.ndjson"
    if not capture.exists():
        pytest.skip(MISSING)
    with (
        validating_endpoint() as front,
        container(
            image, tmp_path, mounts={"/captures": FOLDER}, **variables(front, capture, 0.048 / 5)
        ) as running,
    ):
        found = measure(running, front)
        print(f"PSS {found.pss:.1f} MiB, RSS {found.rss:.1f} MiB, CPU {100 * found.cpu:.2f} %")
        assert found.cpu < 0.01
        assert running.stop() == 0


def test_layer_size(image: Image) -> None:
    """The image adds at most 15 MB to Debian's Python."""
    size = sum(int(layer["size"]) for layer in image.layers)
    assert all("gzip" in layer["mediaType"] for layer in image.layers)
    print(f"{size / 1e6:.1f} MB in {len(image.layers)} layers")
    assert 1e6 < size <= 15e6
