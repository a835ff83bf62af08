"""Planted orphans only delay others, and requests for other destinations stay in their file."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from structlog.testing import capture_logs

from neuron_exporter.sinks.delivery.spool.orphans import MAX_OPENED, SCAN_INTERVAL
from neuron_exporter.sinks.delivery.spool.paths import ORPHAN_AGE
from tests.support.spool_requests import MIB, START, make_request
from tests.support.spools import SpoolHarness, filled_spool
from tests.support.spools import close_spools as close_spools


def test_many_planted_orphans_only_delay_others(tmp_path: Path) -> None:
    template = str(tmp_path / "{task_id}.db")
    for number in range(MAX_OPENED + 5):
        bad = tmp_path / f"bad-{number}.db"
        bad.write_text("garbage")
        os.utime(bad, (number, number))
    filled_spool(tmp_path / "left.db").spool.close()
    os.utime(tmp_path / "left.db", (START - ORPHAN_AGE - 1,) * 2)
    harness = SpoolHarness(tmp_path / "mine.db", template=template)
    with capture_logs() as log:
        harness.spool.maintain()
        assert len(log) == MAX_OPENED
        assert harness.drain() == []
        harness.wait(SCAN_INTERVAL)
    assert harness.drain() == ["0", "1", "2"]


def test_orphan_that_is_too_large_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "left.db"
    filled_spool(path).spool.close()
    os.truncate(path, 300 * MIB)
    os.utime(path, (1, 1))
    harness = SpoolHarness(tmp_path / "mine.db", template=str(tmp_path / "{task_id}.db"))
    with capture_logs() as log:
        harness.spool.maintain()
    assert [event["event"] for event in log] == ["spool_orphan_skipped"]
    assert harness.drain() == []


def test_copy_of_the_own_file_is_not_adopted(tmp_path: Path) -> None:
    path, copy = tmp_path / "mine.db", tmp_path / "copy.db"
    filled_spool(path).spool.close()
    shutil.copy(path, copy)
    os.utime(copy, (1, 1))
    harness = SpoolHarness(path, 16 * MIB, template=str(tmp_path / "{task_id}.db"))
    harness.spool.maintain()
    assert harness.drain() == ["0", "1", "2"]
    assert copy.exists()


def test_orphan_keeps_requests_for_other_destinations(tmp_path: Path) -> None:
    path, template = tmp_path / "left.db", str(tmp_path / "{task_id}.db")
    first = SpoolHarness(path, region="eu-west-1")
    first.spool.add(make_request("theirs", START, region="eu-west-1"))
    ours = replace(make_request("ours", START), namespace="NeuronExporter")
    first.spool.add(ours)
    first.spool.close()
    os.utime(path, (1, 1))
    harness = SpoolHarness(tmp_path / "mine.db", template=template)
    with capture_logs() as log:
        harness.spool.maintain()
        assert (len(harness.spool), harness.spool.others) == (1, 1)
        assert harness.drain() == ["ours"]
        for _ in range(3):
            harness.wait(SCAN_INTERVAL)
    assert harness.spool.others == 1
    assert [e["event"] for e in log] == ["spool_orphan_adopted", "spool_orphan_kept"]
    os.utime(path, (1, 1))
    other = SpoolHarness(tmp_path / "other.db", template=template, region="eu-west-1")
    other.spool.maintain()
    assert other.drain() == ["theirs"]
    other.wait(1)
    assert not path.exists()
    harness.wait(SCAN_INTERVAL)
    assert harness.spool.others == 0
