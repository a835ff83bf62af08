"""Examples and figures of the documents about OTLP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.support.commands import run
from tests.support.documents import blocks, table
from tests.support.paths import ROOT

EXAMPLES = blocks("docs/otlp.md", "yaml", "otlp:")


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_check_accepts_the_examples(text: str, tmp_path: Path) -> None:
    """Each is a complete configuration, apart from its files, or the budget of one."""
    document = yaml.safe_load(text)
    otlp = {"enabled": True, "endpoint": "http://127.0.0.1:4318", **document["otlp"]}
    if otlp.get("auth") == "sigv4":
        del otlp["endpoint"]
        document["identity"] = {"region": "us-east-1"}
    for key, path in otlp.get("tls", {}).items():
        otlp["tls"][key] = str(tmp_path / Path(path).name)
        Path(otlp["tls"][key]).write_text("")
    for header in otlp.get("headers", {}).values():
        header["file"] = str(tmp_path / Path(header["file"]).name)
        Path(header["file"]).write_text("secret")
    path = tmp_path / "exporter.yaml"
    path.write_text(yaml.safe_dump({**document, "otlp": otlp}))
    done = run("check", "--config", str(path), "--strict")
    assert (done.status, done.err) == (0, "")
    assert "otlp: " in done.out


def test_check_accepts_the_configuration_of_ecs() -> None:
    done = run("check", "--config", str(ROOT / "ecs" / "exporter-otlp.yaml"), "--strict")
    assert (done.status, done.err) == (0, "")


@pytest.mark.parametrize("row", table("docs/otlp.md", "| points |"), ids=lambda row: row[0])
def test_the_cost_of_machines(row: list[str], tmp_path: Path) -> None:
    """The table has what `cost` counts, rounded: the exporter's own metrics are among it."""
    path = tmp_path / "exporter.yaml"
    path.write_text("otlp: {enabled: true, endpoint: 'http://127.0.0.1:4318'}\n")
    done = run("cost", "--config", str(path), "--instance-type", row[0], "--json")
    cost = json.loads(done.out)["otlp"]
    sizes = [cost[name] / 1e9 for name in ("ingested_bytes", "bytes", "gzip_bytes")]
    found = [cost["per_interval"]["points"], sizes[0], cost["monthly_usd"], *sizes[1:]]
    stated = [float(cell.replace(",", "")) for cell in row[1:]]
    assert found == pytest.approx(stated, rel=0.03, abs=0.06)
