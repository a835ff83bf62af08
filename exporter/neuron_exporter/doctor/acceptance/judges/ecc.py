"""Assumption on ECC readings: totals, or counts of the period."""

from __future__ import annotations

from neuron_exporter.doctor.acceptance.evidence import Evidence
from neuron_exporter.doctor.acceptance.judgement import (
    Judgement,
    NotSeen,
    assumption,
    contradicted,
    held,
    require,
)
from neuron_exporter.doctor.finding import format_count, format_names

MIN_READINGS = 3
"""Readings above 0 of one kind that must follow each other to show a total."""


@assumption(
    "ecc-level",
    "ECC readings are totals (levels), not counts of the period (tallies)",
    "metrics/ecc_counters.py",
)
def judge_ecc(evidence: Evidence) -> Judgement:
    """Judge whether readings never fall, and equal those of sysfs.

    The driver's own readings are totals (its source: `fw_io_ecc_read` returns a register).
    """
    seen = evidence.ecc
    require(seen.by_event, "no report has ECC readings")
    falls = {key: each.falls for key, each in seen.by_event.items() if each.falls}
    if falls:
        named = format_names(
            f"{name} of device {device} {format_count(count, 'time')}"
            for (device, name), count in sorted(falls.items())
        )
        return contradicted(
            f"in {seen.reports} reports, readings fell: {named}: counts of the period, or resets"
        )
    below = [
        f"{name} of device {device} is {seen.by_event[device, name].last:g}, in sysfs {total:g}"
        for (device, name), total in sorted(evidence.sysfs_before.ecc.items())
        if (device, name) in seen.by_event and seen.by_event[device, name].last < total
    ]
    if below:
        return contradicted(f"readings are below the totals of sysfs: {format_names(below)}")
    totals = evidence.sysfs_after.ecc
    equal = sum(
        each.last > 0 and totals.get(key) == each.last for key, each in seen.by_event.items()
    )
    if equal:
        return held(f"{format_count(equal, 'reading')} above 0 equal the totals of sysfs")
    lasting = [each for each in seen.by_event.values() if each.most_in_a_row >= MIN_READINGS]
    if lasting:
        rises = sum(each.rises for each in lasting)
        return held(
            f"in {seen.reports} reports, {format_count(len(lasting), 'reading')} above 0 never "
            f"fell and rose {format_count(rises, 'time')}"
        )
    above = any(each.last for each in seen.by_event.values())
    few = "too few readings were above 0" if above else "all readings were 0"
    raise NotSeen(f"in {format_count(seen.reports, 'report')}, {few}")
