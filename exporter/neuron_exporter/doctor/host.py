"""Neuron's driver and tools: which versions there are, and whether they suit the machine."""

from __future__ import annotations

import re
from collections.abc import Iterator

from neuron_exporter.doctor.context import Case
from neuron_exporter.doctor.finding import Finding, failed, ok, skipped
from neuron_exporter.identity.software import driver_version, tools_version
from neuron_exporter.pipeline.identity import is_of_this_machine

SUBJECT = "driver"

LAST_FOR_INF1 = (2, 21)
"""The last driver that knows Inferentia: AWS's own images for ECS and EKS (2026-08) go back to
2.21.* when they find such a device, since newer ones do not support it."""


def examine(case: Case) -> Iterator[Finding]:
    """Read the versions of what is installed and loaded."""
    if not is_of_this_machine(case.config):
        yield skipped(SUBJECT, f"source.kind {case.config.source.kind} needs none")
        return
    version = driver_version()
    if not version:
        yield failed(
            SUBJECT,
            "no Neuron driver is loaded (/sys/module/neuron/version)",
            "on the host, not in the container: install aws-neuronx-dkms for its kernel, then "
            "`modprobe neuron`; is this a machine with Neuron devices at all?",
        )
    elif case.instance_type.startswith("inf1.") and _is_too_new(version):
        yield failed(
            SUBJECT,
            f"version {version} does not support {case.instance_type}",
            "install aws-neuronx-dkms=2.21.* on the host, and hold it there",
        )
    else:
        yield ok(SUBJECT, f"version {version} is loaded")
    tools = tools_version()
    if tools:
        yield ok("tools", f"aws-neuronx-tools {tools}")
    else:
        yield skipped("tools", "their version is not known (no package database of Debian's here)")


def _is_too_new(version: str) -> bool:
    numbers = re.match(r"(\d{1,6})\.(\d{1,6})", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) > LAST_FOR_INF1
