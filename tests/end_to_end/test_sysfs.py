"""The driver's files beside neuron-monitor's reports: from the disk to Prometheus."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.servers import prometheus_server
from tests.support.sysfs_tree import write_tree
from tests.support.waiting import wait_for

POWER = "stats/power/utilization"
NEURON_DEVICES = "/sys/devices/virtual/neuron_device"


def set_value(file: Path, text: str) -> None:
    """Replace the content of a file at once, as the driver does."""
    new = file.with_name("new")
    new.write_text(f"{text}\n")
    new.replace(file)


def moved(tree: Path, device: int, name: str, core: int | None = None) -> Path:
    """Return the file with the value of this name, wherever it is."""
    for pattern in (f"{name}/total", name):
        for path in sorted((tree / f"neuron{device}").rglob(pattern)):
            if core is None or f"nc{core}" in path.parts or f"neuron_core{core}" in path.parts:
                return path
    raise AssertionError(f"no {name}")


@pytest.mark.usefixtures("needs_prometheus")
@pytest.mark.parametrize("is_moved", [False, True], ids=["old", "moved"])
def test_changes_arrive_in_prometheus(tmp_path: Path, is_moved: bool) -> None:
    """Each kind of value follows its file, in both layouts. A device that hangs costs only
    itself, and does not delay the stop."""
    tree = write_tree(tmp_path / "sysfs", range(16), 8, is_moved=is_moved)
    source = simulated("--instance-type", "trn2.48xlarge")
    config = {"source": source, "hardware": {"sysfs": str(tree)}}
    with (
        running_exporter(tmp_path, config) as exporter,
        prometheus_server(tmp_path, exporter.url.removeprefix("http://")) as prometheus,
    ):

        def wait_for_value(query: str, expected: float) -> None:
            wait_for(lambda: prometheus.value(query) == pytest.approx(expected), every=0.5)

        wait_for_value("neuron_exporter_sysfs_up", 1)
        wait_for_value("count(neurondevice_power_utilization_ratio)", 48)
        wait_for_value('count(neurondevice_info{serial_number="9ff5434815c8bd80"})', 16)
        wait_for_value("sum(neurondevice_health)", 16 * 11)
        wait_for_value("count(neuroncore_hardware_errors_total)", 64 * 6)
        ecc = 'hardware_ecc_events_total{event_type="mem_ecc_repairable_uncorrected"}'
        wait_for_value(f"sum({ecc})", 0)

        set_value(moved(tree, 3, "utilization"), "POWER_STATUS_VALID,1,0.00,90.00,45.00")
        set_value(moved(tree, 3, "unhealthy_components"), "sram")
        set_value(moved(tree, 3, "mem_ecc_repairable_uncorrected"), "2")
        set_value(moved(tree, 3, "reset_fail_count", core=0), "1")
        set_value(moved(tree, 3, "reset_req_count", core=5), "4")
        set_value(moved(tree, 3, "hw_nc_ue_error", core=4), "7")
        set_value(moved(tree, 3, "hw_nc_ue_error", core=5), "1")
        power = 'neurondevice_power_utilization_ratio{neuron_device_index="3"'
        wait_for_value(f'{power}, statistic="avg"}}', 0.45)
        wait_for_value('neurondevice_health{neuron_device_index="3", component="sram"}', 0)
        wait_for_value(f"sum({ecc})", 2)
        wait_for_value('neurondevice_resets_total{neuron_device_index="3", result="failed"}', 1)
        wait_for_value('neurondevice_resets_total{neuron_device_index="3", result="requested"}', 4)
        # Two physical cores are one logical core: those of device 3 are the cores 12 to 15.
        errors = "sum by (neuroncore) (neuroncore_hardware_errors_total) > 0"
        wait_for_value(errors, 8)
        (series,) = prometheus.query(errors)
        assert series["metric"] == {"neuroncore": "14"}

        pipe = moved(tree, 3, "utilization")
        pipe.unlink()
        os.mkfifo(pipe)
        assert exporter.wait_for_event("sysfs_file_hangs")["file"] == str(pipe)
        wait_for_value("count(neurondevice_power_utilization_ratio)", 45)
        set_value(moved(tree, 4, "mem_ecc_repairable_uncorrected"), "1")
        wait_for_value(f"sum({ecc})", 3)
        wait_for_value('neuron_exporter_sysfs_errors_total{reason="hanging"}', 1)
        assert len(exporter.events("sysfs_file_hangs")) == 1
        assert exporter.stop() == 0


@pytest.mark.parametrize(("setting", "is_read"), [(False, False), ("auto", True)])
def test_files_that_are_not_to_be_read_are_not_opened(
    tmp_path: Path, setting: bool | str, is_read: bool
) -> None:
    """With `sysfs: false`, no access is made below the driver's folder, which strace would show."""
    if shutil.which("strace") is None:
        missing("strace is not installed (Debian: strace)")
    trace = tmp_path / "trace"
    within = ["strace", "-f", "-qq", "-e", "trace=%file", "-o", str(trace)]
    config = {"source": simulated(), "hardware": {"sysfs": setting}}
    with running_exporter(tmp_path, config, within=within) as exporter:
        exporter.wait_for_value("neuron_exporter_up", 1)
        wait_for(lambda: (exporter.value("neuron_exporter_reports_total") or 0) >= 3)
        _stop(exporter)
    accesses = [line for line in trace.read_text().splitlines() if NEURON_DEVICES in line]
    assert bool(accesses) == is_read


def _stop(exporter: RunningExporter) -> None:
    """Stop the traced exporter, a child of strace, which passes no signals on."""
    children = Path(f"/proc/{exporter.process.pid}/task/{exporter.process.pid}/children")
    os.kill(int(children.read_text().split()[0]), 15)
    assert exporter.wait() == 0
