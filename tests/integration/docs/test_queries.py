"""The queries of docs/prometheus.md return the right answers where two machines differ."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.documents import queries

pytestmark = pytest.mark.usefixtures("needs_prometheus")


def series(name: str, value: float, machine: str, **labels: str) -> dict[str, str]:
    """Return a series that has had this value for 20 minutes."""
    own = "".join(f',{label}="{text}"' for label, text in labels.items())
    return {"series": f'{name}{{instance_id="{machine}"{own}}}', "values": f"{value}+0x20"}


def core(machine: str, index: int, busy: float, constants: float, tensors: float) -> list[Any]:
    """Return the series of one core."""
    on = {"neuroncore": str(index)}
    return [
        series("neuroncore_utilization_ratio", busy, machine, **on),
        series("neuroncore_memory_usage_constants", constants, machine, **on),
        series("neuroncore_memory_usage_tensors", tensors, machine, **on),
    ]


def latency(machine: str, total: float, device: float) -> list[Any]:
    """Return the 99th percentiles of a runtime."""
    of = {"runtime_tag": "app", "percentile": "p99"}
    return [
        series("execution_latency_seconds", total, machine, **of),
        series("execution_device_latency_seconds", device, machine, **of),
    ]


SCRAPED = [
    *core("a", 0, 0.9, 50, 45),
    *core("a", 1, 0.1, 70, 0),
    *core("b", 0, 0, 70, 0),
    series("neuroncores_in_use", 2, "a"),
    series("neuroncores_in_use", 0, "b"),
    series("neuroncore_runtime_info", 1, "a", neuroncore="0", runtime_tag="app", pid="1"),
    series("neuroncore_runtime_info", 1, "b", neuroncore="0", runtime_tag="idler", pid="2"),
    *latency("a", 1.0, 0.75),
    *latency("b", 0.625, 0.125),
    series("neuron_exporter_source_state", 0, "a", state="stalled"),
    series("neuron_exporter_source_state", 1, "b", state="stalled"),
]

ANSWERS = {
    "How busy": {'{instance_id="a"}': 0.5, '{instance_id="b"}': 0},
    "Which machines have been idle": {'{instance_id="b"}': 0},
    "Which runtimes occupy": {'{instance_id="b",neuroncore="0",runtime_tag="idler"}': 1},
    "How much of the p99": {
        '{instance_id="a",percentile="p99",runtime_tag="app"}': 0.25,
        '{instance_id="b",percentile="p99",runtime_tag="app"}': 0.5,
    },
    "What fills": {
        'neuroncore_memory_usage_constants{instance_id="a",neuroncore="0"}': 50,
        'neuroncore_memory_usage_tensors{instance_id="a",neuroncore="0"}': 45,
    },
    "Which machines have a problem": {
        'neuron_exporter_source_state{instance_id="b",state="stalled"}': 1,
    },
}


@pytest.mark.parametrize("question", ANSWERS)
def test_the_answer_is_right(question: str, tmp_path: Path) -> None:
    (query,) = (query for text, query in queries() if text.startswith(question))
    wanted = [{"labels": labels, "value": value} for labels, value in ANSWERS[question].items()]
    test = {
        "interval": "1m",
        "input_series": SCRAPED,
        "promql_expr_test": [{"expr": query, "eval_time": "15m", "exp_samples": wanted}],
    }
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
