"""The volume of OTLP in the `cost` command: the bytes that an exporter sends, and their price."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median, mode
from typing import Any

import pytest
import yaml

from tests.support.children import LINE
from tests.support.commands import run
from tests.support.exporter import running_exporter, simulated
from tests.support.otlp_front import otlp_front
from tests.support.waiting import wait_for

TYPE = "inf2.xlarge"
MONTH = 730 * 3600
USD_PER_GB = 0.5


def configuration(folder: Path, document: Any) -> str:
    """Write a configuration."""
    path = folder / "cost.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def otlp_cost(folder: Path, otlp: Any, *flags: str, **sections: Any) -> dict[str, Any]:
    """Return the part about OTLP of the output of `cost --json`."""
    machine = () if "--stream" in flags else ("--instance-type", TYPE)
    path = configuration(folder, {"otlp": otlp, **sections})
    finished = run("cost", "--config", path, "--json", *machine, *flags)
    assert (finished.status, finished.err) == (0, "")
    cost: dict[str, Any] = json.loads(finished.out)["otlp"]
    return cost


def test_running_exporter_sends_the_counted_bytes(tmp_path: Path) -> None:
    """Only the exporter's own metrics and the names of the machine may differ."""
    settings = {"enabled": True, "interval": "1s", "exclude": ["system_*"]}
    with otlp_front(time.time) as front:
        otlp = {**settings, "endpoint": front.url}
        config = {"source": simulated("--instance-type", TYPE), "otlp": otlp}
        with running_exporter(tmp_path, config) as exporter:
            wait_for(lambda: len({point.time for point in front.points}) >= 5)
            assert exporter.stop() == 0
        points = mode(Counter(point.time for point in front.points if not point.flags).values())
        size = median(request.size for request in front.requests)
    assert front.rejected == []
    counted = otlp_cost(tmp_path, otlp, source={"kind": "simulator"})["per_interval"]
    assert counted["requests"] == 1
    assert counted["points"] == pytest.approx(points, rel=0.05)
    assert counted["bytes"] == pytest.approx(size, rel=0.1)


def test_price(tmp_path: Path) -> None:
    """CloudWatch counts the resource and the name with each point, so more than is sent."""
    cost = otlp_cost(tmp_path, {"enabled": True, "auth": "sigv4"}, "--instances", "100")
    assert (cost["enabled"], cost["interval_seconds"]) == (True, 60)
    sent = cost["per_interval"]
    assert sent["ingested_bytes"] > sent["bytes"] > sent["gzip_bytes"] > 0
    for size in ("ingested_bytes", "bytes", "gzip_bytes"):
        assert cost[size] == sent[size] * MONTH / 60
        assert cost["fleet"][size] == 100 * cost[size]
    usd = cost["ingested_bytes"] / 1e9 * USD_PER_GB
    assert cost["monthly_usd"] == pytest.approx(usd, abs=0.005)
    assert cost["fleet"]["monthly_usd"] == pytest.approx(100 * usd, abs=0.005)


def test_interval(tmp_path: Path) -> None:
    """Each interval has one point of each series, however long it is."""
    short, long = (
        otlp_cost(tmp_path, {"interval": interval, "include": [], "exclude": []})
        for interval in ("1s", "1h")
    )
    assert short["per_interval"]["points"] == long["per_interval"]["points"] > 0
    assert short["bytes"] == pytest.approx(3600 * long["bytes"], rel=0.01)


def test_selection(tmp_path: Path) -> None:
    full, minimal = (otlp_cost(tmp_path, {"preset": preset}) for preset in ("full", "minimal"))
    assert minimal["bytes"] < full["bytes"]


def test_pods_are_counted_where_they_are_looked_up(tmp_path: Path) -> None:
    """Labels of owners are part of each point."""
    without, having = (
        otlp_cost(tmp_path, {}, identity={"kubernetes": looked_up}) for looked_up in (False, True)
    )
    assert having["bytes"] > without["bytes"]


def test_recorded_reports(tmp_path: Path) -> None:
    path = tmp_path / "reports.ndjson"
    path.write_bytes(LINE * 2)
    cost = otlp_cost(tmp_path, {}, "--stream", str(path))
    assert cost["per_interval"]["points"] > 0


def test_budget(tmp_path: Path) -> None:
    """The budget suppresses metrics until the rest costs less."""
    unlimited = otlp_cost(tmp_path, {})
    limit = unlimited["monthly_usd"] / 2
    otlp = {"enabled": True, "auth": "sigv4", "budget": {"max_monthly_usd": limit}}
    cost = otlp_cost(tmp_path, otlp)
    suppressed = {each["name"] for each in cost["budget"]["not_sent"]}
    assert "system_context_switches_total" in suppressed
    assert cost["budget"]["bytes"] == pytest.approx(limit / USD_PER_GB * 1e9)
    assert cost["budget"]["wanted"] > cost["budget"]["bytes"]
    assert cost["bytes"] < unlimited["bytes"]
    path = configuration(tmp_path, {"otlp": otlp})
    printed = " ".join(run("cost", "--config", path, "--instance-type", TYPE).out.split())
    assert f"over the budget of {limit:,.2f} USD: " in printed
    assert "; not sent: system_swap_used_bytes, " in printed


@pytest.mark.parametrize("enabled", [False, True])
def test_text(tmp_path: Path, enabled: bool) -> None:
    otlp = {"enabled": enabled, "auth": "sigv4"}
    printed = run("cost", "--config", configuration(tmp_path, {"otlp": otlp})).out
    assert ("OTLP TO CLOUDWATCH, IF ENABLED" in printed) is not enabled
    text = " ".join(printed.split())
    assert " GB after gzip" in text
    assert "in an encoding that is not public" in text


def test_without_the_extra(tmp_path: Path) -> None:
    """The rest is printed without opentelemetry-proto, even if the configuration has OTLP on."""
    otlp = {"enabled": True, "auth": "sigv4"}
    path = configuration(tmp_path, {"otlp": otlp})
    code = f"""
import sys
sys.modules["opentelemetry"] = None
from neuron_exporter.cli.main import main
sys.exit(main(["cost", "--config", {path!r}, *sys.argv[1:]]))
"""

    def cost(*flags: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code, "--instance-type", TYPE, *flags],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert "\nOTLP is not counted: it needs the extra `otlp` (pip install " in cost()
    document = json.loads(cost("--json"))
    assert (document["otlp"], document["metrics"]) == (None, 10)
