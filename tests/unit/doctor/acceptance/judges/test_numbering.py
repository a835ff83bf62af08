"""Judgements on devices and cores, compared with neuron-ls, /dev and the table of types."""

from __future__ import annotations

import json
from typing import Any

import pytest

from neuron_exporter.doctor.acceptance.judgement import Result
from neuron_exporter.doctor.acceptance.neuron_ls import NeuronLs, parse
from neuron_exporter.doctor.acceptance.sysfs import SysfsTree
from tests.support.device_listing import listing
from tests.support.evidence import evidence_of, judge, result
from tests.support.reports import HARDWARE, INSTANCE, cores, group, report, runtime

HELD, CONTRADICTED, NOT_SEEN = Result.HELD, Result.CONTRADICTED, Result.NOT_SEEN
GIB = 2**30


def machine(
    devices: range | list[int] = range(16), *, count: int = 16, busy: int | None = None, **more: Any
) -> dict[str, Any]:
    """Return a report that lists these devices of a trn1.32xlarge."""
    listed = [{"neuron_device_index": index, "mem_ecc_corrected": 0} for index in devices]
    used = [] if busy is None else [runtime(neuroncore_counters=cores(**{f"_{busy}": 50}))]
    hardware = {**HARDWARE, "neuron_device_count": count, "neuron_device_memory_size": 32 * GIB}
    return report(
        *used,
        system_data={"neuron_hw_counters": group(neuron_devices=listed)},
        neuron_hardware_info={**hardware, **more},
    )


def parsed(listed: list[dict[str, Any]]) -> NeuronLs:
    """Return what neuron-ls lists."""
    return parse(json.dumps(listed).encode())


ALL = parsed(listing(range(16)))


def test_list_of_devices() -> None:
    assert judge("device-list", evidence_of(machine())) == (
        HELD,
        "listed are 0 to 15, neuron_device_count is 16",
    )
    lost = machine([*range(7), *range(8, 16)])
    assert judge("device-list", evidence_of(lost)) == (
        CONTRADICTED,
        "listed are 0 to 6, 8 to 15, neuron_device_count is 16",
    )
    changed = judge("device-list", evidence_of(machine(), lost, machine()))
    assert changed.evidence.endswith("they changed 2 times")
    assert result("device-list", evidence_of(report())) is NOT_SEEN


def test_devices_by_neuron_ls() -> None:
    assert result("neuron-ls-devices", evidence_of(machine(), neuron_ls=ALL)) is HELD
    fewer = evidence_of(machine(range(15)), neuron_ls=ALL)
    assert judge("neuron-ls-devices", fewer) == (
        CONTRADICTED,
        "neuron-ls lists 0 to 15, reports list 0 to 14",
    )
    missing = evidence_of(machine(), neuron_ls=NeuronLs(reason="neuron-ls was not found"))
    assert judge("neuron-ls-devices", missing) == (NOT_SEEN, "neuron-ls was not found")


def test_cores_by_neuron_ls() -> None:
    assert result("neuron-ls-cores", evidence_of(machine(busy=31), neuron_ls=ALL)) is HELD
    assert result("neuron-ls-cores", evidence_of(machine(busy=32), neuron_ls=ALL)) is CONTRADICTED
    other = listing([4])
    other[0]["neuroncore_ids"] = [0, 1]
    relative = evidence_of(machine([4], count=1), neuron_ls=parsed(other))
    assert judge("neuron-ls-cores", relative) == (
        CONTRADICTED,
        "device 4 has the cores 0, 1 by neuron-ls, and 8, 9 by the exporter's rule",
    )


@pytest.mark.parametrize(
    ("cores", "lnc", "expected"),
    [(4, 2, HELD), (4, None, HELD), (8, 1, CONTRADICTED), (4, 1, CONTRADICTED)],
)
def test_logical_cores(cores: int, lnc: int | None, expected: Result) -> None:
    trn2 = machine(neuroncore_per_device_count=4, logical_neuroncore_config=2)
    listed = parsed(listing(range(16), cores=cores, lnc=lnc))
    assert result("neuron-ls-lnc", evidence_of(trn2, neuron_ls=listed)) is expected


def test_neuron_ls_before_2_25() -> None:
    """Without core ids, nc_count is compared unless LNC is 2: it is not known what it counts."""
    listed = parsed([{**each, "neuroncore_ids": None} for each in listing(range(16))])
    assert result("neuron-ls-lnc", evidence_of(machine(), neuron_ls=listed)) is HELD
    trn2 = machine(neuroncore_per_device_count=4, logical_neuroncore_config=2)
    assert result("neuron-ls-lnc", evidence_of(trn2, neuron_ls=listed)) is NOT_SEEN
    assert result("neuron-ls-cores", evidence_of(machine(), neuron_ls=listed)) is NOT_SEEN


def test_memory_of_a_device() -> None:
    assert result("neuron-ls-memory", evidence_of(machine(), neuron_ls=ALL)) is HELD
    less = parsed(listing(range(16), memory=16 * GIB))
    assert result("neuron-ls-memory", evidence_of(machine(), neuron_ls=less)) is CONTRADICTED


def test_table_of_instance_types() -> None:
    assert result("instance-type", evidence_of(machine())) is HELD
    assert judge("instance-type", evidence_of(machine(count=15))) == (
        CONTRADICTED,
        "trn1.32xlarge: 16 devices, but 15 in reports",
    )
    unknown = machine()
    unknown["instance_info"] = {**INSTANCE, "instance_type": "trn9.48xlarge"}
    assert judge("instance-type", evidence_of(unknown)) == (
        NOT_SEEN,
        "trn9.48xlarge is not in the table",
    )


def test_container_with_part_of_the_machine() -> None:
    """Its devices are no error in the table, and only other numbers than 0 to N show anything."""
    part = evidence_of(machine(range(4, 8), count=4), present=frozenset(range(4, 8)))
    assert result("instance-type", part) is NOT_SEEN
    assert result("device-files", part) is HELD
    assert judge("container-numbers", part) == (HELD, "/dev has 4 to 7, reports list 4 to 7")
    renumbered = evidence_of(machine(range(4), count=4), present=frozenset(range(4, 8)))
    assert result("device-files", renumbered) is CONTRADICTED
    assert result("container-numbers", renumbered) is CONTRADICTED
    whole = evidence_of(machine(), present=frozenset(range(4, 8)))
    assert result("device-files", whole) is HELD
    assert result("container-numbers", whole) is HELD
    first = evidence_of(machine(range(4), count=4), present=frozenset(range(4)))
    assert result("container-numbers", first) is NOT_SEEN


def test_whole_machine() -> None:
    host = evidence_of(machine(), present=frozenset(range(16)))
    assert result("device-files", host) is HELD
    assert result("container-numbers", host) is NOT_SEEN
    lost = evidence_of(machine(range(15)), present=frozenset(range(16)))
    assert result("device-files", lost) is CONTRADICTED
    assert result("device-files", evidence_of(machine())) is NOT_SEEN


def test_devices_in_sysfs() -> None:
    whole = SysfsTree(devices={*range(16)})
    part = evidence_of(machine(range(4, 8)), present=frozenset(range(4, 8)), sysfs_before=whole)
    assert result("sysfs-devices", part) is HELD
    own = SysfsTree(devices={*range(4, 8)})
    hidden = evidence_of(machine(range(4, 8)), present=frozenset(range(4, 8)), sysfs_before=own)
    assert result("sysfs-devices", hidden) is CONTRADICTED
    host = evidence_of(machine(), present=frozenset(range(16)), sysfs_before=whole)
    assert result("sysfs-devices", host) is NOT_SEEN


@pytest.mark.parametrize(("folders", "expected"), [(8, HELD), (4, CONTRADICTED), (3, CONTRADICTED)])
def test_cores_in_sysfs(folders: int, expected: Result) -> None:
    trn2 = machine(neuroncore_per_device_count=4, logical_neuroncore_config=2)
    tree = SysfsTree(devices={0}, cores={0: {f"neuron_core{each}" for each in range(folders)}})
    assert result("sysfs-cores", evidence_of(trn2, sysfs_before=tree)) is expected
