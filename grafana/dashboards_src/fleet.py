"""Fleet: is all well, who is busy, what stands idle, and what it costs."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source.frame import dashboard, opens, prometheus_variables, text, type_variable
from grafana.source.panels import (
    ANY_IS_BAD,
    ANY_IS_ODD,
    FULL,
    About,
    Panel,
    columns,
    heat,
    lines,
    number,
    query,
    rows,
)
from grafana.source.queries import (
    FLEET,
    JOB,
    UNCORRECTED,
    idle_though_given,
    pick,
    rate,
    rise,
)

_BY_MACHINE = "by (instance_id, instance_type)"
_BUSY = pick("neuroncore_utilization_ratio", FLEET)
_FAILED = 'status_type!="completed"'
_SLOWEST = pick("execution_latency_seconds", FLEET, 'percentile="p99"')


def fleet() -> Dashboard:
    """The dashboard."""
    variables = [
        *prometheus_variables(),
        type_variable(),
        text(
            "core_price",
            "USD a core and hour",
            "1",
            "What an hour of one core costs you: write what you pay. With 1, cores are counted.",
        ),
        text(
            "metric_price",
            "USD a metric and month",
            "0.30",
            "What CloudWatch takes for one metric; 0.30 is the list price of the first 10,000.",
        ),
    ]
    return dashboard(
        "neuron-exporter-fleet",
        "Fleet",
        "All machines: is all well, who is busy, what stands idle, what it costs.",
        variables,
        {"": _numbers(), "Machines": _machines(), "Executions": _executions(), "Ill": _ill()},
    )


def _numbers() -> list[Panel]:
    uncorrected = f"sum({rise('hardware_ecc_events_total', FLEET, UNCORRECTED)})"
    return [
        number(
            About("Machines", "Machines whose hardware is read now.", "none", 4, 4),
            query(f"count({pick('instance_info', FLEET)})"),
            none="0",
        ),
        number(
            About("Exporters down", "Exporters that Prometheus cannot scrape.", "none", 4, 4),
            query(f"count({pick('up', JOB)} == 0) or vector(0)"),
            steps=ANY_IS_BAD,
        ),
        number(
            About(
                "Sources down",
                "Exporters that answer, and whose neuron-monitor gives no reports of hardware.",
                "none",
                4,
                4,
            ),
            query(f"count({pick('neuron_exporter_up', JOB)} == 0) or vector(0)"),
            steps=ANY_IS_BAD,
        ),
        number(
            About(
                "Uncorrected ECC",
                "Errors of memory and SRAM in the time shown that could not be corrected.",
                "none",
                4,
                4,
            ),
            query(uncorrected, instant=True),
            steps=ANY_IS_BAD,
            decimals=0,
            none="not known",
        ),
        number(
            About("Utilization", "Average of all cores, idle ones included.", "percentunit", 4, 4),
            query(f"avg({_BUSY})"),
            decimals=1,
        ),
        number(
            About("Cores in use", "Cores that are busy, and all that there are.", "none", 4, 4),
            query(f"sum({pick('neuroncores_in_use', FLEET)})", "busy"),
            query(f"count({_BUSY})", "all"),
            spark=False,
        ),
        number(
            About(
                "Given but idle",
                "Cores that a pod was given and that were not busy lately. Known where the "
                "exporter may ask the kubelet.",
                "none",
                8,
                4,
            ),
            query(f"sum({idle_though_given(FLEET)})"),
            steps=ANY_IS_ODD,
            none="not known",
        ),
        number(
            About(
                "Given but idle, an hour",
                "Those cores, times the price of a core and hour that is typed in above.",
                "currencyUSD",
                8,
                4,
            ),
            query(f"sum({idle_though_given(FLEET)}) * $core_price"),
            none="not known",
        ),
        number(
            About(
                "CloudWatch, a month",
                "The metrics that the exporters publish to CloudWatch, times the price that is "
                "typed in above. Without requests, alarms and dashboards.",
                "currencyUSD",
                8,
                4,
            ),
            query(f"sum({pick('neuron_exporter_cloudwatch_metrics', JOB)}) * $metric_price"),
        ),
    ]


def _machines() -> list[Panel]:
    return [
        heat(
            About(
                "Utilization by machine",
                "A row for each machine: the average of its cores, the darker the busier.",
                "percentunit",
                24,
                10,
            ),
            query(f"avg by (instance_id) ({_BUSY})", "{{instance_id}}"),
        ),
        columns(
            About(
                "Machines now",
                "What each machine does now. Open one by its id.",
                "none",
                24,
                9,
            ),
            {
                "instance_id": "Machine",
                "instance_type": "Type",
                "Value #A": "Utilization",
                "Value #B": "Cores in use",
                "Value #C": "Fullest device",
                "Value #D": "Executions/s",
                "Value #E": "Failed/s",
                "Value #F": "p99",
            },
            rows(f"avg {_BY_MACHINE} ({_BUSY})"),
            rows(f"sum {_BY_MACHINE} ({pick('neuroncores_in_use', FLEET)})"),
            rows(f"max {_BY_MACHINE} ({pick('neurondevice_memory_utilization_ratio', FLEET)})"),
            rows(f"sum {_BY_MACHINE} ({rate('neuron_executions_total', FLEET)})"),
            rows(f"sum {_BY_MACHINE} ({rate('neuron_executions_total', FLEET, _FAILED)})"),
            rows(f"max {_BY_MACHINE} ({_SLOWEST})"),
            units={
                "Utilization": "percentunit",
                "Fullest device": "percentunit",
                "Executions/s": "ops",
                "Failed/s": "ops",
                "p99": "s",
            },
            link=opens("neuron-exporter-machine", "Open the machine", "machine", "Machine"),
            linked="Machine",
        ),
        lines(
            About("Cores in use by type", "Busy cores of the machines of a type.", "none"),
            query(f"sum by (instance_type) ({pick('neuroncores_in_use', FLEET)})"),
            stacked=True,
        ),
        lines(
            About(
                "Fullest devices",
                "The machines whose fullest device has the least memory left.",
                "percentunit",
            ),
            query(
                "topk(10, max by (instance_id) "
                f"({pick('neurondevice_memory_utilization_ratio', FLEET)}))"
            ),
            steps=FULL,
            most=1,
        ),
    ]


def _executions() -> list[Panel]:
    return [
        lines(
            About("Executions", "Executions of all machines a second, by how they ended.", "ops"),
            query(f"sum by (status_type) ({rate('neuron_executions_total', FLEET)})"),
            stacked=True,
        ),
        lines(
            About("Errors", "Errors of all executions a second, by type.", "ops"),
            query(f"sum by (error_type) ({rate('neuron_execution_errors_total', FLEET)})"),
            stacked=True,
        ),
        lines(
            About(
                "Share that failed",
                "Executions that did not end as completed, of all; by machine, the ten worst. "
                "Nothing while nothing is executed.",
                "percentunit",
            ),
            query(
                f"topk(10, sum by (instance_id) ({rate('neuron_executions_total', FLEET, _FAILED)})"
                f" / (sum by (instance_id) ({rate('neuron_executions_total', FLEET)}) > 0))"
            ),
        ),
        lines(
            About(
                "Slowest machines",
                "The 99th percentile of an execution's time, of the slowest process of a machine.",
                "s",
            ),
            query(f"topk(10, max by (instance_id) ({_SLOWEST}))"),
        ),
    ]


def _ill() -> list[Panel]:
    state = pick("neuron_exporter_source_state", JOB, 'state!="ok"')
    return [
        columns(
            About(
                "Sources that give nothing",
                "Exporters that answer, and why their source gives nothing. Empty is well.",
                "none",
            ),
            {"instance": "Exporter", "state": "State"},
            rows(f"{state} == 1"),
            none="all well",
        ),
        columns(
            About(
                "Exporters that do not answer",
                "Targets of the jobs chosen above that Prometheus cannot scrape. Empty is well.",
                "none",
            ),
            {"instance": "Exporter", "job": "Job"},
            rows(f"{pick('up', JOB)} == 0"),
            none="all well",
        ),
    ]
