"""A program in place of neuron-ls that prints devices in its documented form."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.children import script


def listing(
    devices: Iterable[int], cores: int = 2, lnc: int | None = None, memory: int = 34359738368
) -> list[dict[str, Any]]:
    """Return the devices as `neuron-ls -j` lists them, with `cores` logical cores each.

    The fields are those of recorded output (trn1.2xlarge, tools 2.28; trn2.48xlarge, tools 2.34).
    """
    size = {} if lnc is None else {"logical_neuroncore_config": lnc}
    return [
        {
            "neuron_device": device,
            "bdf": f"0000:{device:02x}:1e.0",
            "cpu_affinity": "0-7",
            "numa_node": "-1",
            "connected_to": None,
            "nc_count": cores,
            **size,
            "memory_size": memory,
            "neuroncore_ids": [*range(device * cores, (device + 1) * cores)],
            "neuron_processes": [{"pid": 1, "command": "", "neuron_runtime_version": "2.30.51"}],
        }
        for device in devices
    ]


def neuron_ls(folder: Path, document: Any) -> Path:
    """Write a neuron-ls that accepts `-j` and prints this document, and return its path."""
    text = shlex.quote(json.dumps(document, indent=4))
    wrong = "echo 'unknown flag' >&2; exit 1"
    return script(folder / "neuron-ls", f'[ "$1" = -j ] || {{ {wrong}; }}\nprintf %s {text}')
