"""Hardware errors in the real kernel's log become metrics."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neuron_exporter.facts.kernel_log import ERROR_TYPES, PATH
from tests.support.exporter import running_exporter, simulated

METRIC = "neurondevice_kernel_errors_total"
WITHOUT_SYSLOG = ("setpriv", "--inh-caps", "-all", "--bounding-set", "-syslog")


@pytest.fixture
def needs_kernel_log() -> None:
    """Skip the test where the log may not be read and written."""
    try:
        os.close(os.open(PATH, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        pytest.skip(f"{PATH} cannot be used here: {error.strerror}")


@pytest.mark.usefixtures("needs_kernel_log")
def test_errors_are_counted(tmp_path: Path) -> None:
    """Known types start at 0 for each device of the reports, so that the first error is a rise. A
    device that the machine does not have gets no series."""
    config = {
        "source": simulated("--instance-type", "trn1.32xlarge"),
        "hardware": {"kernel_log": True},
    }
    with running_exporter(tmp_path, config) as exporter:
        for error_type in ERROR_TYPES:
            labels = {"neuron_device_index": "15", "error_type": error_type}
            exporter.wait_for_value(METRIC, 0, **labels)
        with open(PATH, "w") as log:
            for device in (60, 3):
                log.write(f"<3>NEURON_HW_ERR=DMA_ERROR nd-id={device} nc-id=0 test of a program\n")
                log.flush()
        exporter.wait_for_value(METRIC, 1, neuron_device_index="3", error_type="DMA_ERROR")
        assert exporter.value(METRIC, neuron_device_index="60") is None
        assert exporter.value(METRIC, neuron_device_index="2", error_type="DMA_ERROR") == 0
        assert exporter.value("neuron_exporter_kernel_log_errors_total", reason="unreadable") == 0
        assert exporter.stop() == 0


def test_missing_right(tmp_path: Path) -> None:
    """It is reported once, with what it needs. Everything else goes on."""
    if os.geteuid() != 0:
        pytest.skip("only root may give up capabilities")
    if Path("/proc/sys/kernel/dmesg_restrict").read_text().strip() != "1":
        pytest.skip("this kernel lets every user read its log")
    config = {"source": simulated(), "hardware": {"kernel_log": True}}
    with running_exporter(tmp_path, config, within=WITHOUT_SYSLOG) as exporter:
        event = exporter.wait_for_event("kernel_log_unreadable")
        assert "CAP_SYSLOG" in event["needs"]
        exporter.wait_for_value("neuron_exporter_up", 1)
        assert METRIC.removesuffix("_total") not in exporter.families()
        name = "neuron_exporter_kernel_log_errors_total"
        assert exporter.value(name, reason="unreadable") == 1
        assert exporter.stop() == 0


def test_off_by_default(tmp_path: Path) -> None:
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        exporter.wait_for_value("neuron_exporter_up", 1)
        assert METRIC.removesuffix("_total") not in exporter.families()
        descriptors = Path(f"/proc/{exporter.process.pid}/fd").iterdir()
        assert PATH not in {os.path.realpath(each) for each in descriptors}
