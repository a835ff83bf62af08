"""Faults of the driver's files, which reports do not have."""

from __future__ import annotations

import random

from neuron_exporter.facts.driver_files import COMPONENTS, HARDWARE_ERRORS, REPAIRABLE
from neuron_exporter.simulator.context import FaultContext
from neuron_exporter.simulator.driver import Driver
from neuron_exporter.simulator.report_faults import ECC_SECONDS, events, lost_device

_REPAIRABLE_SECONDS = (150, 350)
_FAILED_RESETS = 0.3


def lose_files(driver: Driver, context: FaultContext) -> None:
    """Remove the device that is missing in reports."""
    driver.absent.add(lost_device(context.seed, len(driver.devices)))


def count_memory_errors(driver: Driver, context: FaultContext) -> None:
    """Count the memory errors that reports have, and repairable ones.

    The driver has all uncorrected errors of a device's memory in one of two files: the repairable
    one while a repair is pending. Here each file has its own, so the exporter counts as repairable
    only those that exceed the others.
    """
    for device in driver.devices:
        rng = random.Random(f"{context.seed}:ecc:{device}")
        own = random.Random(f"{context.seed}:repairable:{device}")
        totals = {kind: events(rng, *bounds) for kind, bounds in ECC_SECONDS.items()}
        totals[REPAIRABLE] = events(own, *_REPAIRABLE_SECONDS)
        before = context.elapsed - driver.seconds
        driver.ecc_rises[device] = {
            kind: total(context.elapsed) - total(before) for kind, total in totals.items()
        }


def add_hardware_errors(driver: Driver, context: FaultContext) -> None:
    """Count a hardware error of some kind on a core of some device."""
    device = context.rng.choice(driver.devices)
    core = context.rng.randrange(driver.cores_per_device)
    driver.count_error(device, context.rng.choice(HARDWARE_ERRORS), 1, core)


def reset_device(driver: Driver, context: FaultContext) -> None:
    """Remove the files of some device for this report, and count its reset, which may fail."""
    device = context.rng.choice(driver.devices)
    driver.absent.add(device)
    driver.resets[device]["reset_req_count"] += 1
    driver.resets[device]["reset_fail_count"] += context.rng.random() < _FAILED_RESETS


def reload_driver(driver: Driver, context: FaultContext) -> None:
    """Remove all files for this report. Counters start again."""
    driver.restart()


def fail_components(driver: Driver, context: FaultContext) -> None:
    """Report two components of the first device as unhealthy."""
    rng = random.Random(f"{context.seed}:unhealthy")
    failed = sorted(rng.sample(range(len(COMPONENTS)), 2))
    driver.unhealthy[driver.devices[0]] = tuple(COMPONENTS[each] for each in failed)
