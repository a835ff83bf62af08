"""A running exporter takes what is hot of another configuration, and refuses the rest by name."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml

from tests.support.exporter import running_exporter, write_config
from tests.support.reloading import GOOD, TOTALS, fed, hang_up, reloaded, started
from tests.support.waiting import wait_for
from tests.support.web_config import hashed

TAKEN_AT = "neuron_exporter_config_last_reload_success_timestamp_seconds"
OUTCOMES = "neuron_exporter_config_reloads_total"


# Taken


def test_a_hot_change_takes_effect_without_a_gap_in_counters(tmp_path: Path) -> None:
    """Another selection is shown after the file has been quiet, and counters are exact to the unit:
    also those that were not shown before."""
    with fed(tmp_path, prometheus={"preset": "minimal", "exclude": [TOTALS]}) as run:
        run.feed(4)
        started = run.exporter.value(TAKEN_AT)
        assert run.exporter.value(GOOD) == 1
        assert TOTALS not in run.exporter.families()
        write = time.monotonic()
        run.write(prometheus={"preset": "full"})
        assert sorted(reloaded(run.exporter)) == ["prometheus.exclude", "prometheus.preset"]
        assert time.monotonic() - write >= 2
        run.feed(4)
        assert run.exporter.value(TOTALS, status_type="completed") == run.completed > 0
        assert run.exporter.value(GOOD) == 1
        assert run.exporter.value(OUTCOMES, outcome="taken") == 1
        taken = run.exporter.value(TAKEN_AT)
        assert started is not None
        assert taken is not None
        assert taken > started
        assert "prometheus.preset" in run.exporter.get("/api/v1/snapshot")[1]
        run.end()


def test_scrapes_go_on_through_reloads(tmp_path: Path) -> None:
    """Whoever scrapes while the selection changes gets whole answers, and no counter falls."""
    with fed(tmp_path, prometheus={"preset": "full"}) as run:
        run.feed(2)
        seen: list[float] = []
        stop = threading.Event()

        def scrape() -> None:
            while not stop.is_set():
                seen.append(run.exporter.value(TOTALS, status_type="completed") or -1.0)

        scraping = threading.Thread(target=scrape)
        scraping.start()
        try:
            for number in range(1, 9):
                preset = "minimal" if number % 2 else "full"
                run.write(prometheus={"preset": preset, "include": [TOTALS]})
                hang_up(run.exporter)
                reloaded(run.exporter, number)
                run.feed()
        finally:
            stop.set()
            scraping.join()
        assert seen == sorted(seen)
        assert run.exporter.value(TOTALS, status_type="completed") == run.completed
        assert run.exporter.process.poll() is None


def test_several_writings_are_one_reload(tmp_path: Path) -> None:
    """The file is read when nobody writes it any more, and once; a touch does nothing."""
    with fed(tmp_path) as run:
        for preset in ("minimal", "standard", "minimal", "standard"):
            run.write(prometheus={"preset": preset})
        assert reloaded(run.exporter) == ["prometheus.preset"]
        os.utime(tmp_path / "exporter.yaml", (1, 1))
        run.exporter.wait_for_event("config_unchanged")
        assert len(run.exporter.events("config_reloaded")) == 1


def test_a_config_map_is_followed(tmp_path: Path) -> None:
    """Kubelet writes a new folder and turns one link; the old folder is removed after that."""

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
        hang_up(exporter)
        assert reloaded(exporter, 2) == []


def test_what_a_flag_sets_the_file_does_not_change(tmp_path: Path) -> None:
    """File, environment and flags are merged as at the start: an overridden key is no change, not
    even one that would take a restart."""
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


def test_the_log_level_changes(tmp_path: Path) -> None:
    """A reload is said where the level before or after it would say it, and then the new level
    holds."""
    quiet, loud = ({"format": "json", "level": level} for level in ("error", "debug"))
    config = {"source": {"kind": "stdin"}}
    path = write_config(tmp_path, {**config, "log": loud})
    with started(["--config", str(path)], stdin=subprocess.PIPE) as exporter:
        exporter.wait_for_event("started")
        for number, log in enumerate((quiet, loud, quiet), 1):
            write_config(tmp_path, {**config, "log": log})
            hang_up(exporter)
            assert reloaded(exporter, number) == ["log.level"]
        lines = len(exporter.log)
        assert exporter.stop() == 0
        assert len(exporter.log) == lines


def test_a_web_configuration_begins_to_protect(tmp_path: Path) -> None:
    """Its file may be named while running, and a hang-up reads it anew at once."""
    web = tmp_path / "web.yml"
    web.write_text("{}\n")
    with fed(tmp_path) as run:
        assert run.exporter.get("/healthz")[0] == 200
        run.write(prometheus={"web_config_file": str(web)})
        hang_up(run.exporter)
        assert reloaded(run.exporter) == ["prometheus.web_config_file"]
        assert run.exporter.get("/healthz")[0] == 200
        web.write_text(yaml.safe_dump({"basic_auth_users": {"me": hashed("x")}}))
        hang_up(run.exporter)
        run.exporter.wait_for_event("web_config_reloaded")
        assert run.exporter.get("/healthz")[0] == 401
        run.write()
        hang_up(run.exporter)
        refused = run.exporter.wait_for_event("config_refused")
        assert "basic_auth_users: cannot be taken away" in refused["problem"]
        assert run.exporter.get("/healthz")[0] == 401


# Refused


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "source: {kind: stdin, period: 7s}\nlog: {level: error, format: json}\n"
            "prometheus: {listen: '127.0.0.1:0', preset: minimal}\nweb: {page: false}\n",
            [
                ":1: source.period: takes a restart: 5s is in use, 7s was given",
                ":4: web.page: takes a restart: True is in use, False was given",
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
    ids=["cold", "not YAML", "not legal", "gone"],
)
def test_what_is_refused_changes_nothing(
    tmp_path: Path, text: str | None, problems: list[str]
) -> None:
    """Each problem is a line of the log, as `check` would print it; nothing of the file is taken,
    until a good one is there."""
    path = tmp_path / "exporter.yaml"
    with fed(tmp_path) as run:
        run.feed(2)
        before = run.exporter.families().keys()
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        wait_for(lambda: run.exporter.value(GOOD) == 0)
        said = [event["problem"] for event in run.exporter.events("config_refused")]
        assert len(said) == len(problems)
        for got, wanted in zip(said, problems, strict=True):
            assert got.startswith(f"{path}{wanted}")
        run.feed(2)
        assert run.exporter.families().keys() == before
        assert run.exporter.value(TOTALS, status_type="completed") == run.completed
        assert run.exporter.value(OUTCOMES, outcome="refused") == 1
        assert "refused" in run.exporter.get("/api/v1/snapshot")[1]

        run.write(prometheus={"preset": "minimal"})
        assert reloaded(run.exporter) == ["prometheus.preset"]
        assert run.exporter.value(GOOD) == 1


# Signals


def test_a_hang_up_without_a_file_says_so() -> None:
    """Who configured by flags alone is told that there is nothing to read."""
    flags = ["--source", "stdin", "--listen", "127.0.0.1:0"]
    with started(flags, stdin=subprocess.PIPE) as exporter:
        exporter.wait_for_event("started")
        hang_up(exporter)
        exporter.wait_for_event("config_not_reloaded")
        assert exporter.value(GOOD) == 1
        assert exporter.process.poll() is None


def test_a_hang_up_during_the_start_does_not_end_it(tmp_path: Path) -> None:
    """A signal that comes while the configuration is being read kills nobody."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with started(["--config", str(path)], stdin=subprocess.PIPE) as exporter:
        with path.open("w") as pipe:  # opens when the exporter does
            for _ in range(20):
                hang_up(exporter)
            write_config(tmp_path, {"source": {"kind": "stdin"}})
            pipe.write((tmp_path / "exporter.yaml").read_text())
        exporter.wait_for_event("started")
        hang_up(exporter)
        refused = exporter.wait_for_event("config_refused")
        assert "is not a file that can be read again" in refused["problem"]
        assert exporter.get("/healthz") == (200, "ok\n")
