"""The exporter under a real supervisord, started by the image's entry point."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from tests.support.children import script
from tests.support.exporter import EXPORTER, RunningExporter, clean_environment
from tests.support.paths import ROOT
from tests.support.processes import children_of
from tests.support.waiting import wait_for

IMAGE = ROOT / "docker" / "exporter"
ENTRY_POINT = IMAGE / "entrypoint.sh"


def programs(folder: Path) -> Path:
    """A folder with what the image has on its PATH, as they are here."""
    folder.mkdir(mode=0o755)
    script(folder / "neuron-exporter", f'exec {" ".join(EXPORTER)} "$@"')
    script(folder / "supervisord", f'exec {sys.executable} -m supervisor.supervisord "$@"')
    return folder


def descendants(pid: int) -> list[int]:
    """All that a process has started, and they, and so on."""
    found: list[int] = []
    with suppress(OSError):
        for child in children_of(pid):
            found += [child, *descendants(child)]
    return found


def command_line(pid: int) -> str:
    """The words that a process was started with; empty when it has gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


class Supervised(RunningExporter):
    """A running entry point, and what runs below it."""

    def find(self, words: str) -> int | None:
        """The first of all processes below whose command line has these words."""
        below = descendants(self.process.pid)
        return next((pid for pid in below if words in command_line(pid)), None)

    @property
    def exporter(self) -> int:
        """The exporter's own process."""
        return wait_for(lambda: self.find("-m neuron_exporter run"))

    @property
    def supervisord(self) -> int:
        """The real supervisord."""
        return wait_for(lambda: self.find("supervisor.supervisord"))

    @property
    def url(self) -> str:
        """Where the exporter that was started last listens."""
        self.wait_for_event("started")
        return str(self.events("started")[-1]["url"])

    def wait_for_start(self, number: int) -> None:
        """Wait until the exporter was started so often, and has a source."""
        for event in ("started", "source_state"):
            wait_for(lambda e=event: len(self.events(e)) >= number)  # type: ignore[misc]
        self.wait_for_value("neuron_exporter_up", 1)

    def said(self, text: str) -> bool:
        """Whether a line with this text came on standard error."""
        return any(text in line for line in list(self.raw_log))


def variables(folder: Path, **more: str) -> dict[str, str]:
    """The environment of an entry point whose programs are those of the tests."""
    path = f"{programs(folder / 'programs')}:{clean_environment()['PATH']}"
    run = {"NEURON_EXPORTER_RUN_DIRECTORY": str(folder / "run")}
    return clean_environment(**{"PATH": path, **run, **more})


def _started_in(folder: Path) -> list[int]:
    """What runs with the variables of this folder, whoever its parent is by now."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if f"={folder / 'run'}\0".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


@contextmanager
def supervised(
    folder: Path,
    config: Mapping[str, Any],
    *,
    flags: Sequence[str] = (),
    within: Sequence[str] = (),
    stdout: Any = subprocess.DEVNULL,
    **environment: str,
) -> Iterator[Supervised]:
    """Run the entry point with this configuration, as it stands or within another command."""
    document = {"log": {"format": "json"}, **config}
    document["prometheus"] = {"listen": "127.0.0.1:0", **document.get("prometheus", {})}
    path = folder / "exporter.yaml"
    path.write_text(yaml.safe_dump(document))
    process = subprocess.Popen(
        within or [str(ENTRY_POINT), "--config", str(path), *flags],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=variables(folder, **environment),
    )
    running = Supervised(process)
    try:
        yield running
    finally:
        below = descendants(process.pid)
        if process.poll() is None:
            process.kill()
        process.wait()
        for pid in {*below, *_started_in(folder)}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running._reading.join(5)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
