"""Alerts on exporters and machines that do not report."""

from __future__ import annotations

from grafana.rules_src.alerts.fragments import (
    COUNT,
    IS_EXPORTER_JOB,
    JOB_NAME,
    MACHINE_NAME,
    PERCENT,
    UP,
)
from grafana.rules_src.expressions import CRASH_LOOP, CRASHES
from grafana.rules_src.model import Alert
from grafana.rules_src.parameters import (
    JOB,
    JOBS,
    MIN_FAILING_SHARE,
    MIN_REPORTING_SHARE,
    TARGET,
    UNNEEDED_GROUPS,
    WINDOW,
)
from neuron_exporter.facts.problems import (
    CRASH_LOOP_RESTARTS,
    CRASH_LOOP_SECONDS,
    MIN_SOURCE_UPTIME,
)

ALERTS = (
    Alert(
        name="NeuronExporterDown",
        expr=f"{UP} == 0\n{IS_EXPORTER_JOB}",
        for_="5m",
        severity="warning",
        summary="The exporter at {{ $labels.instance }} cannot be scraped.",
        description="Prometheus (job {{ $labels.job }}) has had no answer from "
        "{{ $labels.instance }} for 5 minutes. The state of its NeuronCores is unknown.",
        rationale="Prometheus writes `up` at every attempt. Workloads may have a matching job name "
        "too, so the alert covers only jobs in which an exporter answered recently.",
    ),
    Alert(
        name="NeuronMachineVanished",
        expr=(
            "last_over_time(neuroncores_in_use[1h]) > 0\n"
            f"unless on ({TARGET}) last_over_time({UP}[{WINDOW}])\n"
            "unless on (cluster, instance_id)\n"
            f'  last_over_time(neuroncores_in_use{{instance_id!=""}}[{WINDOW}])'
        ),
        for_="5m",
        severity="warning",
        summary=f"{MACHINE_NAME} disappeared while its NeuronCores were busy.",
        description=f"Service discovery no longer lists {MACHINE_NAME}, which had {{{{ $value }}}}"
        " busy NeuronCores when it was last scraped. A drained machine would have been idle.",
        rationale="A target that is gone has no `up`. Scaling in is not a failure, so the cores "
        "must have been busy. An exporter that returns at another address is the same machine if "
        "its instance_id is known.",
    ),
    Alert(
        name="NeuronFleetUnseen",
        expr=(
            f"(sum by ({JOB}) (\n"
            f'    sum_over_time(neuron_exporter_up{{job=~"{JOBS}"}}[{WINDOW}])\n'
            "    or sum_over_time(neuron_exporter_source_state"
            f'{{job=~"{JOBS}",state="paused"}}[{WINDOW}])\n'
            "  )\n"
            f"  or sum by ({JOB}) ({UP}) * 0)\n"
            f"/ sum by ({JOB}) (count_over_time({UP}[{WINDOW}])) < {MIN_REPORTING_SHARE}\n"
            f"{IS_EXPORTER_JOB}"
        ),
        for_="10m",
        severity="critical",
        summary=f"Fewer than half of the machines of {JOB_NAME} report.",
        description=f"Only {PERCENT} of the scrapes of {JOB_NAME} found an exporter whose "
        "neuron-monitor reports, or that an operator has paused. No other alert sees the machines "
        "without reports. First see what was rolled out last: an image, a driver, a network "
        "policy.",
        rationale="One silent machine can wait until working hours; a silent fleet cannot. A job "
        "without targets, such as a fleet that is scaled to zero, has no value. A paused exporter "
        "is silent on purpose, and NeuronSourcePaused covers it.",
    ),
    Alert(
        name="NeuronSourceDown",
        expr=(
            f"avg_over_time(neuron_exporter_up[{WINDOW}]) < {MIN_SOURCE_UPTIME}\n"
            f"unless on ({TARGET})\n"
            f'  max_over_time(neuron_exporter_source_state{{state="paused"}}[{WINDOW}]) == 1'
        ),
        for_="5m",
        severity="warning",
        summary="neuron-monitor does not report on {{ $labels.instance }}.",
        description="The exporter on {{ $labels.instance }} answers, but had fresh reports for "
        f"only {PERCENT} of the last 5 minutes. neuron_exporter_source_state shows the reason.",
        rationale="neuron_exporter_up is 0 once the last report is older than three periods, so it "
        "covers stale reports too. The expression is a share because a source that is restarted "
        "repeatedly is up now and then.",
    ),
    Alert(
        name="NeuronCrashLoop",
        expr=f"{CRASHES} > 0\nand on ({TARGET}) {CRASH_LOOP}",
        for_="1m",
        severity="warning",
        summary="neuron-monitor on {{ $labels.instance }} restarts again and again "
        "({{ $labels.reason }}).",
        description="The exporter on {{ $labels.instance }} restarted neuron-monitor at least "
        f"{CRASH_LOOP_RESTARTS} times in {CRASH_LOOP_SECONDS // 60} minutes, {COUNT} of them for "
        "the reason {{ $labels.reason }}. Events between two of its processes are not counted.",
        rationale="neuron-monitor may report between two crashes, so that NeuronSourceDown does "
        "not fire. A missing program is one state rather than a series of crashes. Restarts for "
        "all reasons together make the loop, and each reason has its own alert.",
    ),
    Alert(
        name="NeuronGroupFailing",
        expr=(
            f'increase(neuron_exporter_group_errors_total{{group!~"{UNNEEDED_GROUPS}"}}[{WINDOW}])\n'
            f"  >= on ({TARGET}) group_left () {MIN_FAILING_SHARE} * max by ({TARGET})\n"
            f"    (increase(neuron_exporter_reports_total[{WINDOW}]) > 0)"
        ),
        for_="15m",
        severity="warning",
        summary="neuron-monitor cannot read {{ $labels.group }} on {{ $labels.instance }}.",
        description="For 15 minutes, nearly every report of neuron-monitor on "
        "{{ $labels.instance }} has had an error in the group {{ $labels.group }}. Its series are "
        "absent, and alerts on them cannot fire.",
        rationale="Without neuron_hw_counters, no memory error is seen. No alert needs the groups "
        "that are left out, and they fail on healthy machines: without the host's process ids, "
        "without access to the instance metadata, or outside of Kubernetes.",
    ),
    Alert(
        name="NeuronSourcePaused",
        expr=f'min_over_time(neuron_exporter_source_state{{state="paused"}}[{WINDOW}]) == 1',
        for_="1h",
        severity="warning",
        summary="neuron-monitor has been paused on {{ $labels.instance }} for an hour.",
        description="SIGUSR1 paused the exporter on {{ $labels.instance }}, and it was not resumed."
        " The state of its NeuronCores is unknown.",
        rationale="An operator who pauses the exporter to reset a driver may forget to resume it.",
    ),
)
