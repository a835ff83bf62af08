"""Devices as neuron-ls lists them.

Its JSON is an array with one object per device (`-j`, up to Neuron 2.33). AWS has announced another
form for 2.34 (`--output-format json`) whose fields are not published: it is recognized, named, and
not interpreted.
https://awsdocs-neuron.readthedocs-hosted.com/en/latest/tools/neuron-sys-tools/neuron-ls.html
https://awsdocs-neuron.readthedocs-hosted.com/en/latest/about-neuron/announcements/neuron2.x/announce-intent-eos-neuron-ls-json.html
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from neuron_exporter.doctor.acceptance.names import harmless_name
from neuron_exporter.doctor.finding import describe, format_names
from neuron_exporter.doctor.hanging import HUNG, run_limited
from neuron_exporter.report.schema import CoresPerDevice, DeviceIndex, Index, Quantity
from neuron_exporter.source.environment import child_environment
from neuron_exporter.text import safe_message

PROGRAM = "neuron-ls"
TIMEOUT = 15.0
"""Seconds that neuron-ls may take."""

_FLAGS = (("-j",), ("--output-format", "json"))
_UNUSED = {"instance_id", "bdf", "cpu_affinity", "numa_node", "connected_to", "neuron_processes"}
_MAX_BYTES = 4 * 2**20
_MAX_SHOWN = 120


class ListedDevice(msgspec.Struct):
    """A device. `neuroncore_ids` exist since Neuron 2.25, `logical_neuroncore_config` only on
    machines with logical cores."""

    neuron_device: DeviceIndex
    nc_count: CoresPerDevice | None = None
    logical_neuroncore_config: CoresPerDevice | None = None
    memory_size: Quantity | None = None
    neuroncore_ids: list[Index] | None = None
    instance_type: str | None = None


class NeuronLs(NamedTuple):
    """The listed devices; if there are none or the output is not understood, the reason."""

    devices: Sequence[ListedDevice] = ()
    reason: str = ""
    unknown: Sequence[str] = ()

    @property
    def indices(self) -> frozenset[int]:
        """Indices of the devices."""
        return frozenset(device.neuron_device for device in self.devices)


def run_neuron_ls(
    command: Sequence[str], own: Mapping[str, str], added: Mapping[str, str | None]
) -> NeuronLs:
    """Run neuron-ls, and return what it lists.

    Args:
        command: command of neuron-monitor, beside which neuron-ls is searched as well.
        own: the environment of this process.
        added: variables of neuron-monitor (`child_environment`).
    """
    environment = child_environment(own, added)
    beside = os.path.dirname(command[0])
    path = os.pathsep.join(filter(None, (beside, environment["PATH"])))
    program = shutil.which(PROGRAM, path=path)
    if program is None:
        return NeuronLs(reason=f"{PROGRAM} was not found")
    reasons = []
    for flags in _FLAGS:
        try:
            output = run_limited([program, *flags], TIMEOUT, environment)
        except OSError as error:
            return NeuronLs(reason=f"{PROGRAM} cannot be started: {describe(error)}")
        if output.status == HUNG:
            return NeuronLs(reason=f"{PROGRAM} did not end within {TIMEOUT:g} s")
        if output.status == 0 and output.out.strip():
            return parse(output.out)
        err = output.err.decode("utf-8", "replace").strip().splitlines()
        detail = f": {safe_message(err[-1])[:_MAX_SHOWN]}" if err else ""
        reasons.append(f"{PROGRAM} {flags[0]} exited with status {output.status}{detail}")
    return NeuronLs(reason=reasons[0])


def parse(out: bytes) -> NeuronLs:
    """Return the devices of neuron-ls's JSON, or the reason why it is not understood."""
    if len(out) > _MAX_BYTES:
        return NeuronLs(reason=f"not understood: {PROGRAM} printed {len(out):,} bytes")
    try:
        document = json.loads(out)
    except (ValueError, RecursionError):
        return NeuronLs(reason=f"not understood: {PROGRAM} printed no JSON")
    if not isinstance(document, list):
        return NeuronLs(reason=f"not understood: {PROGRAM} printed {_form(document)}")
    try:
        devices = msgspec.convert(document, list[ListedDevice])
    except msgspec.ValidationError as error:
        return NeuronLs(reason=f"not understood: {PROGRAM}: {error}")
    known = _UNUSED | {*ListedDevice.__struct_fields__}
    unknown = sorted({name for each in document for name in each} - known)
    reason = "" if devices else f"{PROGRAM} lists no device"
    return NeuronLs(devices, reason, sorted({*map(harmless_name, unknown)}))


def _form(document: Any) -> str:
    if not isinstance(document, dict):
        return f"a JSON {type(document).__name__}"
    names = format_names(map(harmless_name, document))
    return f"an object with the keys {names}"
