"""Print the table of instance types as text or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable

from neuron_exporter.facts.instance_types import INSTANCE_TYPES, InstanceType

_COLUMNS: tuple[tuple[str, str, Callable[[InstanceType], object]], ...] = (
    ("type", "TYPE", lambda row: row.name),
    ("accelerator", "ACCELERATOR", lambda row: row.accelerator),
    ("vcpus", "VCPUS", lambda row: row.vcpus),
    ("memory_gib", "HOST GIB", lambda row: row.memory_gib),
    ("devices", "DEVICES", lambda row: row.devices),
    ("cores_per_device", "CORES/DEVICE", lambda row: row.cores_per_device),
    ("cores", "CORES", lambda row: row.cores),
    ("logical_core_size", "LNC", lambda row: row.logical_core_size),
    ("logical_cores", "LOGICAL CORES", lambda row: row.logical_cores),
    ("device_memory_gib", "GIB/DEVICE", lambda row: row.device_memory_gib),
    ("total_device_memory_gib", "DEVICE GIB", lambda row: row.total_device_memory_gib),
    ("efa_interfaces", "EFA", lambda row: row.efa_interfaces),
)


def as_text() -> str:
    """Return the table, the sources of its figures, and notes on single rows."""
    rows = list(INSTANCE_TYPES.values())
    sources = list(dict.fromkeys(source for row in rows for source in row.sources))
    cells = [[*(title for _, title, _ in _COLUMNS), "SOURCES"]]
    for row in rows:
        numbers = ",".join(str(sources.index(source) + 1) for source in row.sources)
        values = (read(row) for _, _, read in _COLUMNS)
        cells.append([*("-" if value is None else str(value) for value in values), numbers])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(each, widths) for each in cells]
    lines += ["", "CORES are physical; LNC of them form one logical core by default. -: unknown"]
    lines += ["", "SOURCES"]
    lines += [f"{n:>4}  {source.name}, {source.date}" for n, source in enumerate(sources, 1)]
    lines += ["", "NOTES", *(f"  {row.name}: {row.note}" for row in rows if row.note)]
    unconfirmed = ", ".join(row.name for row in rows if not row.confirmed)
    lines += ["", "NOT CONFIRMED: no public source says that these can be launched"]
    lines += [f"  {unconfirmed}"]
    return "\n".join(lines) + "\n"


def as_json() -> str:
    """Return the rows as a JSON list of objects; null means unknown."""
    rows = [
        {
            **{name: read(row) for name, _, read in _COLUMNS},
            "instances_per_ultraserver": row.instances_per_ultraserver,
            "confirmed": row.confirmed,
            "sources": [{"name": each.name, "date": each.date} for each in row.sources],
            "note": row.note or None,
        }
        for row in INSTANCE_TYPES.values()
    ]
    return json.dumps(rows, indent=2) + "\n"


def _line(cells: list[str], widths: list[int]) -> str:
    """Return a line of the table: names left-aligned, figures right-aligned."""
    aligned = [
        cell.ljust(width) if at in (0, 1, len(cells) - 1) else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(aligned).rstrip()
