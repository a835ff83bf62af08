"""The workload dashboard with an ECS agent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import dashboards, metadata
from tests.support.cgroups import process_in
from tests.support.children import script
from tests.support.dashboard_rig import Rig
from tests.support.exporter import running_exporter
from tests.support.promtool import RULES
from tests.support.reports import cores, executions, report, runtime
from tests.support.servers import prometheus_server
from tests.support.waiting import wait_for


@pytest.mark.usefixtures("needs_prometheus")
def test_workloads_by_task_family(tmp_path: Path) -> None:
    """The variable offers task families, and the panels show those of the selected one."""
    document = dashboards.load(dashboards.FOLDER / "workload.json")
    tasks = [
        metadata.agent_task("train", "1" * 32, {"a" * 64: "trainer"}),
        metadata.agent_task("infer", "2" * 32, {"b" * 64: "model"}),
    ]
    with (
        process_in(f"/ecs/{'1' * 32}/{'a' * 64}") as trainer,
        process_in(f"/ecs/{'2' * 32}/{'b' * 64}") as model,
        metadata.agent_server(*tasks) as agent,
    ):
        ecs_report = report(
            *(
                runtime(
                    pid,
                    "app",
                    neuroncore_counters=cores(**busy),
                    execution_stats=executions(10),
                )
                for pid, busy in ((trainer, {"_0": 50.0, "_1": 30.0}), (model, {"_2": 80.0}))
            )
        )
        lines = tmp_path / "report.json"
        lines.write_text(json.dumps(ecs_report) + "\n")
        monitor = script(tmp_path / "monitor", f"while sleep 0.5; do cat {lines}; done")
        with (
            running_exporter(
                tmp_path,
                {"source": {"command": [str(monitor)], "period": "1s"}},
                environment={"NEURON_EXPORTER_ECS_AGENT": agent.url},
            ) as exporter,
            prometheus_server(
                tmp_path,
                exporter.url.removeprefix("http://"),
                interval="500ms",
                rule_files=RULES,
            ) as server,
        ):
            by_name = {each["name"]: each for each in dashboards.variables(document)}
            here = Rig(server, {"neuron": exporter})

            def offered() -> list[str]:
                values = here.initial_values(document, by="task_family")
                return dashboards.variable_options(by_name["workload"], server, values)

            def largest(title: str, family: str) -> float:
                values = here.initial_values(document, by="task_family", workload=family)
                (panel,) = (
                    each
                    for each in dashboards.panels(document)
                    if each.title == title or each.title.startswith(f"{title} (")
                )
                found = [value for each in panel.targets for value in here.values(each, values)]
                return max(found, default=0)

            wait_for(lambda: offered() == ["infer", "train"])
            wait_for(lambda: largest("Throughput by workload", "train") > 0)
            wait_for(lambda: largest("Cores", "train") > 0)
            assert (largest("Cores", "train"), largest("Cores", "infer")) == (2, 1)
            assert largest("Utilization", "train") == pytest.approx(0.4)
            assert largest("Utilization on each machine", "infer") == pytest.approx(0.8)
