"""What the files of a simulated driver say, and that they follow the reports."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from neuron_exporter.doctor.acceptance.sysfs import read_tree
from neuron_exporter.simulator.sysfs import Tree
from tests.support.simulated import busy, executions
from tests.support.simulated_driver import INF2, TRN2, Files, after, errors, run

WITH_ECC = """{"period": "5s", "system_metrics": [{"type": "neuron_hw_counters"}],
"neuron_runtimes": [{"metrics": [{"type": "neuroncore_counters"}, {"type": "execution_stats"}]}]}"""
ECC_OF_REPORTS = (
    *("mem_ecc_corrected", "mem_ecc_uncorrected", "sram_ecc_corrected", "sram_ecc_uncorrected"),
)
HARDWARE = "stats/hardware"
HEALTH = f"{HARDWARE}/health_status"


def power(files: Files, device: int = 0) -> tuple[str, int, list[float]]:
    """Return the status, the time, and minimum, maximum and mean in percent."""
    status, at, *shares = files[device]["stats/power/utilization"].split(",")
    return status, int(at), [float(each) for each in shares]


@pytest.fixture
def with_ecc(tmp_path: Path) -> tuple[str, str]:
    """Return flags for a configuration with hardware counters."""
    path = tmp_path / "monitor.json"
    path.write_text(WITH_ECC)
    return "-c", str(path)


@pytest.mark.parametrize("layout", ["old", "moved"])
def test_doctor_understands_the_tree(tmp_path: Path, layout: str) -> None:
    """Both layouts have the files of all devices and cores, with the forms of values."""
    files = after(1, *INF2)
    Tree(tmp_path, layout).write(files)
    tree = read_tree(tmp_path)
    assert tree.devices == files.keys()
    assert not tree.unreadable
    assert bool(tree.layout.moved) == (layout == "moved")
    if layout == "old":
        assert {len(each) for each in tree.cores.values()} == {2}
        assert not tree.layout.unknown
    assert set(tree.ecc.values()) == {0}


def test_cores_are_physical() -> None:
    """A device of Trn2 has eight, two for each logical one that reports have."""
    device = after(1, *TRN2)[0]
    assert device["core_count"] == "8"
    assert {path.split("/")[0] for path in device if path.startswith("neuron_core")} == {
        f"neuron_core{core}" for core in range(8)
    }


def test_same_seed() -> None:
    """The same flags produce the same files; another seed has other serial numbers."""
    flags = (*INF2, "--scenario", "mixed", "--faults", "hardware-errors,ecc-level,device-reset")
    first, second, other = after(20, *flags), after(20, *flags), after(20, *flags, "--seed", "1")
    assert first == second
    serials = [{each["info/serial_number"] for each in files.values()} for files in (first, other)]
    assert [len(each) for each in serials] == [6, 6]
    assert not serials[0] & serials[1]


# Power


def test_power_follows_utilization() -> None:
    """Idle devices need little, busy ones much; the load of one device does not show on others."""
    _, _, idle = power(after(14, *INF2, "--scenario", "idle"))
    _, _, training = power(after(14, *INF2, "--scenario", "training"))
    assert 0 < idle[2] < 20 < 60 < training[2] <= 100
    files = after(14, *INF2, "--scenario", "training", "--runtimes", "1")
    assert power(files)[2][2] > 60
    for low, high, mean in (idle, training):
        assert low < mean < high <= 100


def test_power_is_refreshed_once_a_minute() -> None:
    values = [power(files) for _, files in run(37, *INF2)]
    assert {status for status, _, _ in values} == {"POWER_STATUS_VALID"}
    assert Counter(at for _, at, _ in values) == {1_760_000_000 + 60 * n: 12 for n in range(3)} | {
        1_760_000_180: 1
    }
    assert len({tuple(shares) for _, _, shares in values}) == 4


# Memory errors


@pytest.mark.parametrize("fault", ["ecc-level", "ecc-tally"])
def test_ecc_equals_the_reports(with_ecc: tuple[str, str], fault: str) -> None:
    """At each report, totals are those of the reports, whether readings are levels or counts."""
    so_far = Counter[tuple[int, str]]()
    for report, files in run(160, *INF2, *with_ecc, "--faults", f"{fault}@3"):
        for device in report["system_data"]["neuron_hw_counters"]["neuron_devices"]:
            index = device["neuron_device_index"]
            for kind in ECC_OF_REPORTS:
                if fault == "ecc-level":
                    so_far[index, kind] = 0
                so_far[index, kind] += device[kind]
                assert files[index][f"{HARDWARE}/{kind}"] == f"{so_far[index, kind]}\n"
    assert so_far[0, "mem_ecc_uncorrected"]
    assert any(files[n][f"{HARDWARE}/mem_ecc_repairable_uncorrected"] != "0\n" for n in files)
    uncorrected = sum(n for (_, kind), n in so_far.items() if kind == "mem_ecc_uncorrected")
    assert errors(files, "hw_hbm_ue_error") == uncorrected


def test_both_ecc_faults_count_once() -> None:
    assert after(60, *INF2, "--faults", "ecc-level,ecc-tally") == after(
        60, *INF2, "--faults", "ecc-level"
    )


def test_ecc_stays_after_the_fault(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("- {at: 5s, fault: ecc-level, for: 5m}\n")
    totals = [
        sum(int(files[n][f"{HARDWARE}/mem_ecc_corrected"]) for n in files)
        for _, files in run(80, *INF2, "--script", str(script))
    ]
    assert totals == sorted(totals)
    assert totals[-1] == totals[62] > totals[30] > 0


# Executions and their errors


def test_statuses_of_executions_are_counted() -> None:
    """Per name, all cores together have what the reports say."""
    expected = Counter[str]()
    flags = (*INF2, "--faults", "execution-errors")
    for report, _ in (history := [*run(10, *flags)]):
        for stats in executions(report):
            expected.update(stats["execution_summary"])
            expected["hw_error"] += stats["error_summary"]["hardware"]
    files = history[-1][1]
    assert errors(files, "success") == expected["completed"] > 0
    assert errors(files, "timeout") == expected["timed_out"] > 0
    assert errors(files, "execute_failed_to_queue") == expected["failed_to_queue"] > 0
    assert errors(files, "hw_error") == expected["hw_error"] > 0


def test_counters_end_with_their_process() -> None:
    """The driver adds the counters of those processes that run."""
    before, now = (
        errors(after(count, *INF2, "--runtimes", "1", "--faults", "runtime-exit@6"), "success")
        for count in (5, 6)
    )
    assert (before > 0, now) == (True, 0)


def test_hardware_errors_rise_on_cores_in_use() -> None:
    names = (
        *("hw_error", "hw_collectives_error", "hw_hbm_ue_error", "hw_nc_ue_error"),
        *("hw_dma_abort_error", "hw_repairable_hbm_ue_error"),
    )
    history = [files for _, files in run(40, *TRN2, "--faults", "hardware-errors")]
    assert [errors(files, *names) for files in history] == [*range(1, 41)]
    assert all(errors(history[-1], name) for name in names)
    assert not errors(after(5, *TRN2, "--faults", "hardware-errors", "--runtimes", "0"), *names)


# Devices


def test_device_reset() -> None:
    """The device's files are gone at the fifth report, and return with the count on every core."""
    history = [files for _, files in run(7, *INF2, "--faults", "device-reset@5")]
    (reset,) = history[3].keys() - history[4].keys()
    assert [len(files) for files in history] == [6, 6, 6, 6, 5, 6, 6]
    for device, files in history[5].items():
        for core in range(2):
            text = files[f"neuron_core{core}/stats/other_info/reset_req_count/total"]
            assert text == ("1\n" if device == reset else "0\n")


def test_driver_reload() -> None:
    """All files are gone for one report; counters start at 0, memory errors stay."""
    flags = (*INF2, "--scenario", "training", "--faults", "driver-reload@60,ecc-level")
    *_, before, gone, now = (files for _, files in run(61, *flags))
    assert gone == {}
    assert 0 < errors(now, "success") < errors(before, "success")
    kind = f"{HARDWARE}/mem_ecc_corrected"
    assert any(files[kind] != "0\n" for files in before.values())
    assert all(int(now[n][kind]) >= int(before[n][kind]) for n in before)


def test_unhealthy_device() -> None:
    """Only drivers of Trn2 have the health; a change counts as an event."""
    flags = ("--faults", "unhealthy-device@3")
    histories = [files for _, files in run(4, *TRN2, *flags)]
    healthy, unhealthy = histories[1][0], histories[3][0]
    assert healthy[f"{HEALTH}/unhealthy_components"] == "\n"
    assert len(unhealthy[f"{HEALTH}/unhealthy_components"].strip().split(",")) == 2
    assert histories[3][1][f"{HEALTH}/unhealthy_components"] == "\n"
    events = [files[0][f"{HEALTH}/hw_error_event"] for files in histories]
    assert events == ["0\n", "0\n", "1\n", "1\n"]
    beats = [files[0][f"{HEALTH}/healthcheck_heartbeat"] for files in histories]
    assert len({*beats}) == 4
    assert not any("health" in path for path in after(4, *INF2, *flags)[0])


def test_lost_device_has_no_files() -> None:
    for report, files in run(5, *INF2, "--faults", "lost-device"):
        if report["neuron_runtime_data"]:
            assert {core // 2 for core in busy(report)} == files.keys()
        assert len(files) == 5


@pytest.mark.parametrize(
    ("flags", "first"),
    [
        (INF2, "1, 5\n"),
        (TRN2, "12, 3, 4, 1\n"),
        (("--instance-type", "inf2.xlarge"), "\n"),
    ],
)
def test_connected_devices(flags: tuple[str, ...], first: str) -> None:
    assert after(1, *flags)[0]["connected_devices"] == first
