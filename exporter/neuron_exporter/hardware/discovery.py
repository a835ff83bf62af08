"""Finds the files that the exporter reads below a device's folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from neuron_exporter.facts.driver_files import (
    CORE,
    CORE_FILES,
    COUNTS,
    DEVICE_FILES,
    KERNEL_PATHS,
    KNOWN_NAMES,
    KNOWN_PATHS,
)

MAX_FILES = 20_000
"""Maximum number of files below a device that are looked at. Driver 2.30 has 1,000 on Trn2."""

MAX_DEPTH = 10

MAX_CORES = 64
"""Maximum number of cores of a device."""

_MOVED_CORE = re.compile(r"(?:neuron_?)?(?:core|nc)_?(\d{1,3})")
"""Name of a core's folder where the layout is unknown."""

_NOT_NEEDED = "memory_usage"


class Layout(NamedTuple):
    """Paths up to driver 2.30, other paths with a known name, and all remaining paths."""

    known: list[str]
    moved: list[str]
    unknown: list[str]


@dataclass(frozen=True, slots=True)
class DeviceFiles:
    """Paths below the folder of a device, by the name of what they contain.

    `unclear` are paths that are not understood, with `neuron_core*` for each core.
    """

    device: dict[str, str]
    cores: dict[int, dict[str, str]]
    unclear: tuple[str, ...]


def sort_paths(paths: Iterable[str]) -> Layout:
    """Sort paths below a device, with `neuron_core*` for each core, by what is known of them."""
    layout = Layout([], [], [])
    for path in sorted(paths):
        if KERNEL_PATHS.fullmatch(path):
            continue
        if KNOWN_PATHS.fullmatch(path):
            layout.known.append(path)
        elif KNOWN_NAMES.fullmatch(_counter(path)):
            layout.moved.append(path)
        else:
            layout.unknown.append(path)
    return layout


def find_files(folder: str, before: Callable[[str], None] = lambda _: None) -> DeviceFiles:
    """Find the files of a device, at their known paths or, if they have moved, by their names.

    A moved file counts only if its name is at one place of the device or of each core. `before` is
    called before each access to the disk, and may raise OSError to leave out a folder.
    """
    paths = set(_files(folder, before))
    layout = sort_paths({CORE.sub("neuron_core*", path) for path in paths})
    unclear = set(layout.unknown)
    by_name: dict[str, list[str]] = {}
    for path in sorted(paths):
        if path.rpartition("/")[2] not in ("present", "peak"):
            by_name.setdefault(_counter(path), []).append(path)
    numbers = {int(match[1]) for path in paths if (match := CORE.fullmatch(path.split("/")[0]))}
    cores: dict[int, dict[str, str]] = {number: {} for number in sorted(numbers)[:MAX_CORES]}
    device: dict[str, str] = {}
    for name, path in DEVICE_FILES.items():
        found = [path] if path in paths else by_name.get(name, [])
        if len(found) == 1 and _core(found[0]) is None:
            device[name] = found[0]
        else:
            unclear.update(found)
    for name, below in CORE_FILES.items():
        known = {
            number: path for number in numbers if (path := f"neuron_core{number}/{below}") in paths
        }
        for number, path in (known or _of_cores(by_name.get(name, []), unclear)).items():
            if number in cores or len(cores) < MAX_CORES:
                cores.setdefault(number, {})[name] = path
    return DeviceFiles(device, cores, tuple(sorted(unclear)))


def _of_cores(paths: list[str], unclear: set[str]) -> dict[int, str]:
    """Return paths by core; none if they are not at the same place of each."""
    found: dict[int, str] = {}
    places = set()
    for path in paths:
        core = _core(path)
        if core is not None:
            folder, number = core
            found[number] = path
            places.add(path.replace(f"{folder}/", "*/", 1))
    if len(places) == 1 and len(found) == len(paths):
        return found
    unclear.update(paths)
    return {}


def _core(path: str) -> tuple[str, int] | None:
    """Return the folder of the core that a path belongs to, and its number."""
    for folder in reversed(path.split("/")[:-1]):
        if match := _MOVED_CORE.fullmatch(folder):
            return folder, int(match[1])
    return None


def _counter(path: str) -> str:
    """Return the name of the value in a file: that of the folder if it has several counts."""
    parent, _, name = path.rpartition("/")
    return parent.rpartition("/")[2] if COUNTS.fullmatch(name) else name


def _files(folder: str, before: Callable[[str], None]) -> Iterator[str]:
    """Yield the paths of files below a folder, without those of symbolic links."""
    count = 0
    folders = [("", 0)]
    while folders:
        below, depth = folders.pop()
        path = os.path.join(folder, below) if below else folder
        try:
            before(path)
            with os.scandir(path) as found:
                entries = [(each.name, each.is_dir(follow_symlinks=False)) for each in found
                           if not each.is_symlink()]  # fmt: skip
        except OSError:
            continue
        for name, is_folder in entries:
            count += 1
            if count > MAX_FILES:
                return
            entry = f"{below}/{name}" if below else name
            if not is_folder:
                yield entry
            elif depth < MAX_DEPTH and name != _NOT_NEEDED:
                folders.append((entry, depth + 1))
