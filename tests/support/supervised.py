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
from tests.support.exporter import EXPORTER, RunningExporter, clean_environment, simulated
from tests.support.paths import ROOT
from tests.support.processes import children_of
from tests.support.waiting import wait_for

IMAGE = ROOT / "docker" / "exporter"
ENTRY_POINT = IMAGE / "entrypoint.sh"

SIMULATED = {
    "source": simulated(),
    "cloudwatch": {"enabled": True, "transport": "emf", "flush_interval": "1s"},
}
"""Configuration for a simulated machine, with metrics on standard output."""


def programs(folder: Path) -> Path:
    """Create a folder with the programs on the image's PATH, as wrappers of this environment's."""
    folder.mkdir(mode=0o755)
    script(folder / "neuron-exporter", f'exec {" ".join(EXPORTER)} "$@"')
    script(folder / "supervisord", f'exec {sys.executable} -m supervisor.supervisord "$@"')
    return folder


def own_directory(run: Path, user: int | None = None) -> Path:
    """Return the directory that the exporter uses in a run directory."""
    return run / f"uid-{os.geteuid() if user is None else user}"


def descendants(pid: int) -> list[int]:
    """Return the ids of all descendants of a process."""
    found: list[int] = []
    with suppress(OSError):
        for child in children_of(pid):
            found += [child, *descendants(child)]
    return found


def command_line(pid: int) -> str:
    """Return the command line of a process; empty when it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


class Supervised(RunningExporter):
    """A running entry point with the processes below it."""

    def find(self, words: str) -> int | None:
        """Return the first descendant whose command line contains these words."""
        below = descendants(self.process.pid)
        return next((pid for pid in below if words in command_line(pid)), None)

    @property
    def exporter(self) -> int:
        """Id of the exporter's own process."""
        return wait_for(lambda: self.find("-m neuron_exporter run"))

    @property
    def supervisord(self) -> int:
        """Id of supervisord."""
        return wait_for(lambda: self.find("supervisor.supervisord"))

    @property
    def url(self) -> str:
        """URL of the exporter that was started last."""
        self.wait_for_event("started")
        return str(self.events("started")[-1]["url"])

    def wait_for_start(self, number: int) -> None:
        """Wait until the exporter has been started `number` times and has a source."""
        for event in ("started", "source_state"):
            wait_for(lambda e=event: len(self.events(e)) >= number)  # type: ignore[misc]
        self.wait_for_value("neuron_exporter_up", 1)

    def logged(self, text: str) -> bool:
        """Return whether a line on standard error contained this text."""
        return any(text in line for line in list(self.raw_log))


def variables(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of an entry point that uses the programs of the tests."""
    path = f"{programs(folder / 'programs')}:{clean_environment()['PATH']}"
    run = {"NEURON_EXPORTER_RUN_DIRECTORY": str(folder / "run")}
    return clean_environment(**{"PATH": path, **run, **more})


def _started_in(folder: Path) -> list[int]:
    """Return the processes with the variables of this folder, whatever their parent is now."""
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
    """Run the entry point with this configuration, directly or below the command `within`."""
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
        running.close()
