"""Everything that one run of the acceptance has seen, from which the assumptions are judged."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from neuron_exporter.doctor.acceptance.neuron_ls import NeuronLs
from neuron_exporter.doctor.acceptance.seen.ecc import EccSeen
from neuron_exporter.doctor.acceptance.seen.hardware import HardwareSeen
from neuron_exporter.doctor.acceptance.seen.runtimes import RuntimesSeen
from neuron_exporter.doctor.acceptance.seen.stream import StreamSeen
from neuron_exporter.doctor.acceptance.sysfs import SysfsTree
from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.model import Group
from neuron_exporter.report import Decoded
from neuron_exporter.report.mask import INSTANCE_TYPE

_VERSION = re.compile(r"v[0-9][a-z]?")

OTHER_MACHINE = "the reports describe another machine"


@dataclass(slots=True)
class Evidence:
    """What was seen of the machine and of its reports.

    Attributes:
        source: Where the reports come from, in words.
        period: Configured period (s); None if the exporter has not configured the stream.
        requested: Groups that the exporter has requested; empty if it has not.
        max_line: Limit of the length of a line, in bytes.
        is_own_child: Whether the doctor runs neuron-monitor, and reads its first report.
        is_masked: Whether names and process ids are masked before the doctor reads them.
        is_simulated: Whether the reports are simulated.
        is_replayed: Whether the reports are those of a file.
        is_local: Whether the reports describe this machine.
        has_host_pids: Whether all processes of the machine are visible.
        firmware_type: Instance type by the firmware; empty if it is unknown.
        driver, tools: Versions; empty if they are unknown.
        present: Indices of the devices in /dev.
    """

    source: str = ""
    period: float | None = None
    requested: frozenset[Group] = frozenset()
    max_line: int = 0
    is_own_child: bool = False
    is_masked: bool = False
    is_simulated: bool = False
    is_replayed: bool = False
    is_local: bool = True
    has_host_pids: bool = False
    firmware_type: str = ""
    driver: str = ""
    tools: str = ""
    present: frozenset[int] = frozenset()
    neuron_ls: NeuronLs = field(default_factory=lambda: NeuronLs(reason="neuron-ls was not run"))
    sysfs_before: SysfsTree = field(default_factory=SysfsTree)
    sysfs_after: SysfsTree = field(default_factory=SysfsTree)
    stream: StreamSeen = field(default_factory=StreamSeen)
    hardware: HardwareSeen = field(default_factory=HardwareSeen)
    ecc: EccSeen = field(default_factory=EccSeen)
    runtimes: RuntimesSeen = field(default_factory=RuntimesSeen)

    def observe(self, line: bytes, decoded: Decoded, at: float) -> None:
        """Take a report into account; `at` is when it was read (s, monotonic)."""
        self.stream.observe(line, decoded, at)
        self.hardware.observe(decoded.report)
        self.ecc.observe(decoded.report)
        self.runtimes.observe(decoded.report, self.hardware, follow_pids=not self.is_masked)

    def restart(self, reason: str) -> None:
        """Note that the source starts anew."""
        self.stream.restart(reason)
        self.ecc.restart()
        self.runtimes.restart()

    def missing(self, path: object) -> str:
        """Return why there is nothing at this path to compare with."""
        return f"there is no {path}" if self.is_local else OTHER_MACHINE

    @property
    def instance_type(self) -> str:
        """The instance type by the reports, the firmware or neuron-ls; empty if it is unknown."""
        listed = [each.instance_type or "" for each in self.neuron_ls.devices]
        for name in (self.hardware.instance_type, self.firmware_type, *listed):
            if INSTANCE_TYPE.fullmatch(name.removeprefix("ml.")):
                return name
        return ""

    @property
    def core_version(self) -> str:
        """Version of the NeuronCores by the reports, such as v3; empty if it is unknown."""
        version = self.hardware.hardware.neuroncore_version or ""
        return version if _VERSION.fullmatch(version) else ""

    @property
    def has_part(self) -> bool:
        """Whether /dev has only some of the machine's devices, by sysfs or the instance type."""
        if not self.present:
            return False
        row = INSTANCE_TYPES.get(self.instance_type.removeprefix("ml."))
        total = row.devices if row is not None else None
        is_fewer = total is not None and len(self.present) < total
        return is_fewer or self.present < self.sysfs_before.devices
