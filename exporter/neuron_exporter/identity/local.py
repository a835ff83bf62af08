"""What the firmware tells: Nitro writes who the instance is where a board's maker is expected."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from neuron_exporter.identity.fields import instance_id, instance_type
from neuron_exporter.model import Machine

FOLDER = Path("/sys/devices/virtual/dmi/id")

_VENDOR = "Amazon EC2"
_LONGEST = 256


def read(folder: Path | None = None) -> Machine:
    """Id and type of the instance; nothing where the board is not Amazon EC2's."""
    folder = folder or FOLDER
    if _VENDOR not in (_line(folder / "board_vendor"), _line(folder / "sys_vendor")):
        return Machine()  # elsewhere an asset tag is whatever somebody has written
    return Machine(
        instance_id=instance_id(_line(folder / "board_asset_tag")),
        instance_type=instance_type(_line(folder / "product_name")),
    )


def _line(path: Path) -> str:
    with suppress(OSError), path.open("rb") as file:
        return file.read(_LONGEST).decode("utf-8", "replace").strip()
    return ""
