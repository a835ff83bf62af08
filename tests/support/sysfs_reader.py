"""A reader of the driver's files, and the files of its tree."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from neuron_exporter.facts.driver_files import DEVICE_FILES
from neuron_exporter.hardware.sysfs import SysfsReader
from neuron_exporter.readings import DeviceReadings
from tests.support.waiting import wait_for

T = TypeVar("T")

POWER, REPAIRABLE = DEVICE_FILES["utilization"], DEVICE_FILES["mem_ecc_repairable_uncorrected"]


class Rig:
    """A reader that makes a pass every 10 ms, with its log and errors."""

    def __init__(
        self, setting: bool | str, file_timeout: float = 2.0, first_pause: float = 0.01
    ) -> None:
        self.reader = SysfsReader(
            setting,
            min_interval=0.01,
            cores_interval=0.0,
            file_timeout=file_timeout,
            first_pause=first_pause,
        )
        self.errors: list[str] = []
        self._others = set(threading.enumerate())
        self.reader.problems.on_error = self.errors.append
        self.reader.start()

    def threads(self) -> int:
        """Return the number of threads of this reader."""
        new = set(threading.enumerate()) - self._others
        return sum(thread.name == "hardware" for thread in new)

    def wait_for(self, condition: Callable[[], T]) -> T:
        """Wait for a true value, with the ticks of the main thread."""

        def ticking() -> T:
            self.reader.check()
            return condition()

        return wait_for(ticking)

    def wait_for_readings(
        self, condition: Callable[[Mapping[int, DeviceReadings]], Any]
    ) -> Mapping[int, DeviceReadings]:
        """Return the first readings of devices for which the condition holds."""
        return self.wait_for(
            lambda: (found := self.reader.readings().devices) and condition(found) and found
        )

    def wait_for_passes(self, tree: Path, device: int) -> None:
        """Wait until all devices have been read at least once more, seen at one of them."""
        file = place(tree, device, REPAIRABLE)
        start = int(file.read_text())
        for total in (start + 1, start + 2):
            set_value(file, str(total))
            self.wait_for_readings(
                lambda found, total=total: device in found and found[device].ecc_repairable == total
            )

    def close(self) -> None:
        """Stop the reader."""
        self.reader.stop()


@contextmanager
def reading(setting: bool | str | Path, **more: Any) -> Iterator[Rig]:
    """Read the files of this setting."""
    rig = Rig(str(setting) if isinstance(setting, Path) else setting, **more)
    with closing(rig):
        yield rig


def place(tree: Path, device: int, path: str) -> Path:
    """Return the file of a device that is at this path up to driver 2.30."""
    known = tree / f"neuron{device}" / path
    if known.exists():
        return known
    name = path.removesuffix("/total").rpartition("/")[2]
    below = f"{name}/total" if path.endswith("/total") else name
    core = path.split("/")[0].removeprefix("neuron_core") if "neuron_core" in path else ""
    return next(
        found
        for found in sorted((tree / f"neuron{device}").rglob(below))
        if not core or f"nc{core}" in found.parts
    )


def set_value(file: Path, text: str) -> None:
    """Replace the content of a file at once, as the driver does."""
    new = file.with_name("new")
    new.write_text(f"{text}\n")
    new.replace(file)


def hang(file: Path) -> None:
    """Put a pipe in the place of a file: an access waits for a writer."""
    file.unlink()
    os.mkfifo(file)


def answer(pipe: Path, text: str) -> None:
    """Let the access to a pipe end, if there is one, and put a file in its place for the next."""
    replaced = pipe.with_name("replaced")
    replaced.hardlink_to(pipe)
    set_value(pipe, text)
    writer = writer_of_opened(replaced)
    replaced.unlink()
    if writer is not None:
        os.write(writer, f"{text}\n".encode())
        os.close(writer)


def writer_of_opened(pipe: Path) -> int | None:
    """Return a writer of a pipe that waits for one, and now for what it writes; None if none
    waits."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def events(log: list[Any], name: str) -> list[Any]:
    """Return the events of this name."""
    return [each for each in log if each["event"] == name]
