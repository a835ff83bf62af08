"""Reloads of a running exporter: reloadable changes take effect, others are rejected."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml

from tests.support.exporter import running_exporter, write_config
from tests.support.reloading import GOOD, TOTALS, fed, reloaded, send_sighup, started
from tests.support.waiting import wait_for
from tests.support.web_config import bcrypt_hash

SUCCESS_TIME = "neuron_exporter_config_last_reload_success_timestamp_seconds"
OUTCOMES = "neuron_exporter_config_reloads_total"


# Applied


def test_reload_keeps_counters(tmp_path: Path) -> None:
    """Metrics that were not published before include what was counted meanwhile."""
    with fed(tmp_path, prometheus={"preset": "minimal", "exclude": [TOTALS]}) as run:
        run.feed(4)
        started_at = run.exporter.value(SUCCESS_TIME)
        assert run.exporter.value(GOOD) == 1
        assert TOTALS not in run.exporter.families()
        write = time.monotonic()
        run.write(prometheus={"preset": "full"})
        assert sorted(reloaded(run.exporter)) == ["prometheus.exclude", "prometheus.preset"]
        assert time.monotonic() - write >= 2
        run.feed(4)
        assert run.exporter.value(TOTALS, status_type="completed") == run.completed > 0
        assert run.exporter.value(GOOD) == 1
        assert run.exporter.value(OUTCOMES, outcome="success") == 1
        reloaded_at = run.exporter.value(SUCCESS_TIME)
        assert started_at is not None
        assert reloaded_at is not None
        assert reloaded_at > started_at
        assert "prometheus.preset" in run.exporter.get("/api/v1/snapshot")[1]
        run.end()


def test_scrapes_during_reloads(tmp_path: Path) -> None:
    with fed(tmp_path, prometheus={"preset": "full"}) as run:
        run.feed(2)
        values: list[float] = []
        stop = threading.Event()

        def scrape() -> None:
            while not stop.is_set():
                values.append(run.exporter.value(TOTALS, status_type="completed") or -1.0)

        scraping = threading.Thread(target=scrape)
        scraping.start()
        try:
            for number in range(1, 9):
                preset = "minimal" if number % 2 else "full"
                run.write(prometheus={"preset": preset, "include": [TOTALS]})
                send_sighup(run.exporter)
                reloaded(run.exporter, number)
                run.feed()
        finally:
            stop.set()
            scraping.join()
        assert values == sorted(values)
        assert run.exporter.value(TOTALS, status_type="completed") == run.completed
        assert run.exporter.process.poll() is None


def test_several_writes_are_one_reload(tmp_path: Path) -> None:
    with fed(tmp_path) as run:
        for preset in ("minimal", "standard", "minimal", "standard"):
            run.write(prometheus={"preset": preset})
        assert reloaded(run.exporter) == ["prometheus.preset"]
        os.utime(tmp_path / "exporter.yaml", (1, 1))
        run.exporter.wait_for_event("config_unchanged")
        assert len(run.exporter.events("config_reloaded")) == 1


def test_config_map_update(tmp_path: Path) -> None:
    """The kubelet writes a new folder, replaces a link, and removes the old folder."""

    def publish(name: str, level: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        write_config(folder, {"source": {"kind": "stdin"}, "log": {"level": level}})
        (tmp_path / "..data_tmp").symlink_to(name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    publish("..2026_11_20_1", "info")
    path = tmp_path / "exporter.yaml"
    path.symlink_to(Path("..data") / "exporter.yaml")
    with started(["--config", str(path)], stdin=subprocess.PIPE) as exporter:
        exporter.wait_for_event("started")
        publish("..2026_11_20_2", "debug")
        (tmp_path / "..2026_11_20_1" / "exporter.yaml").unlink()
        (tmp_path / "..2026_11_20_1").rmdir()
        assert reloaded(exporter) == ["log.level"]
        send_sighup(exporter)
        assert reloaded(exporter, 2) == []


def test_overrides_are_kept(tmp_path: Path) -> None:
    """A new value of an overridden key is no change, even if it would require a restart."""
    flags = ["--listen", "127.0.0.1:0"]
    variable = {"NEURON_EXPORTER__LOG__LEVEL": "debug"}
    config = {"source": {"kind": "stdin"}, "prometheus": {"listen": "127.0.0.1:1"}}
    with running_exporter(
        tmp_path, config, flags=flags, environment=variable, stdin=subprocess.PIPE
    ) as exporter:
        exporter.wait_for_event("started")
        changed = {"listen": "127.0.0.1:2", "preset": "minimal"}
        log = {"format": "json", "level": "error"}
        write_config(tmp_path, {**config, "prometheus": changed, "log": log})
        assert reloaded(exporter) == ["prometheus.preset"]


def test_log_level(tmp_path: Path) -> None:
    """The reload is logged if the old or the new level admits it."""
    quiet, loud = ({"format": "json", "level": level} for level in ("error", "debug"))
    config = {"source": {"kind": "stdin"}}
    path = write_config(tmp_path, {**config, "log": loud})
    with started(["--config", str(path)], stdin=subprocess.PIPE) as exporter:
        exporter.wait_for_event("started")
        for number, log in enumerate((quiet, loud, quiet), 1):
            write_config(tmp_path, {**config, "log": log})
            send_sighup(exporter)
            assert reloaded(exporter, number) == ["log.level"]
        lines = len(exporter.log)
        assert exporter.stop() == 0
        assert len(exporter.log) == lines


def test_web_configuration_adds_protection(tmp_path: Path) -> None:
    web = tmp_path / "web.yml"
    web.write_text("{}\n")
    with fed(tmp_path) as run:
        assert run.exporter.get("/healthz")[0] == 200
        run.write(prometheus={"web_config_file": str(web)})
        send_sighup(run.exporter)
        assert reloaded(run.exporter) == ["prometheus.web_config_file"]
        assert run.exporter.get("/healthz")[0] == 200
        web.write_text(yaml.safe_dump({"basic_auth_users": {"me": bcrypt_hash("x")}}))
        send_sighup(run.exporter)
        run.exporter.wait_for_event("web_config_reloaded")
        assert run.exporter.get("/healthz")[0] == 401
        run.write()
        send_sighup(run.exporter)
        rejected = run.exporter.wait_for_event("config_reload_rejected")
        assert (
            "basic_auth_users: set -> not set: cannot be weakened at run time"
            in rejected["problem"]
        )
        assert run.exporter.get("/healthz")[0] == 401


# Rejected


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "source: {kind: stdin, period: 7s}\nlog: {level: error, format: json}\n"
            "prometheus: {listen: '127.0.0.1:0', preset: minimal}\nweb: {page: false}\n",
            [
                ":1: source.period: requires a restart (current: 5s, new: 7s)",
                ":4: web.page: requires a restart (current: True, new: False)",
            ],
        ),
        ("prometheus: [\n", [":2: is not YAML: "]),
        (
            "log: {level: loud}\nprometheus: {include: [nothing]}\n",
            [
                ":1: log.level: must be ",
                ":2: prometheus.include: matches no metric; ",
            ],
        ),
        (None, [": cannot be read: No such file or directory"]),
    ],
    ids=["restart", "not YAML", "invalid", "missing"],
)
def test_rejected_reload_changes_nothing(
    tmp_path: Path, text: str | None, problems: list[str]
) -> None:
    path = tmp_path / "exporter.yaml"
    with fed(tmp_path) as run:
        run.feed(2)
        before = run.exporter.families().keys()
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        wait_for(lambda: run.exporter.value(GOOD) == 0)
        logged = [event["problem"] for event in run.exporter.events("config_reload_rejected")]
        assert len(logged) == len(problems)
        for problem, wanted in zip(logged, problems, strict=True):
            assert problem.startswith(f"{path}{wanted}")
        run.feed(2)
        assert run.exporter.families().keys() == before
        assert run.exporter.value(TOTALS, status_type="completed") == run.completed
        assert run.exporter.value(OUTCOMES, outcome="failure") == 1
        assert "failure: " in run.exporter.get("/api/v1/snapshot")[1]

        run.write(prometheus={"preset": "minimal"})
        assert reloaded(run.exporter) == ["prometheus.preset"]
        assert run.exporter.value(GOOD) == 1


# Signals


def test_sighup_without_file() -> None:
    flags = ["--source", "stdin", "--listen", "127.0.0.1:0"]
    with started(flags, stdin=subprocess.PIPE) as exporter:
        exporter.wait_for_event("started")
        send_sighup(exporter)
        exporter.wait_for_event("config_reload_skipped")
        assert exporter.value(GOOD) == 1
        assert exporter.process.poll() is None


def test_sighup_during_start(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with started(["--config", str(path)], stdin=subprocess.PIPE) as exporter:
        with path.open("w") as pipe:  # opens when the exporter does
            for _ in range(20):
                send_sighup(exporter)
            write_config(tmp_path, {"source": {"kind": "stdin"}})
            pipe.write((tmp_path / "exporter.yaml").read_text())
        exporter.wait_for_event("started")
        send_sighup(exporter)
        rejected = exporter.wait_for_event("config_reload_rejected")
        assert "is not a file that can be read again" in rejected["problem"]
        assert exporter.get("/healthz") == (200, "ok\n")
