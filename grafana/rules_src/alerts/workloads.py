"""Alerts on executions."""

from __future__ import annotations

from grafana.rules_src.alerts.fragments import MACHINE_NAME, PERCENT, UP
from grafana.rules_src.alerts.jobs import STRAGGLER
from grafana.rules_src.expressions import (
    MAX_GAP,
    gap,
    indent,
    over,
    since_start,
    suspicious,
)
from grafana.rules_src.model import Alert
from grafana.rules_src.parameters import (
    BATCH_JOB,
    LATENCY_FACTOR,
    MACHINE,
    MIN_EXECUTIONS,
    OWNER,
    TARGET,
    TIMEOUT_RATIO,
    WINDOW,
)
from neuron_exporter.facts.problems import (
    ERROR_RATIO,
    HANG_CRITICAL_FACTOR,
    HANG_CRITICAL_SECONDS,
    MIN_FAILURES,
)
from neuron_exporter.facts.report_names import FAILED_STATUSES

_P99 = f"workload:execution_latency_p99_seconds:avg{WINDOW}"

_EXECUTIONS = f"sum by ({MACHINE}) (increase(neuron_executions_total[{WINDOW}]))"
_FAILURES = (
    f"sum by ({MACHINE}) (increase(neuron_executions_total"
    f'{{status_type=~"{"|".join(FAILED_STATUSES)}"}}[{WINDOW}]))'
)
_MACHINE_FAILURES = f"""sum by ({MACHINE}) (
    increase(neuron_execution_errors_total{{error_type=~"hardware|runtime"}}[{WINDOW}])
    or increase(neuron_executions_total{{status_type="timed_out"}}[{WINDOW}])
  )"""
_MACHINE_FAILURE_RATIO = (
    f"clamp_max({_MACHINE_FAILURES}\n"
    f"  / ({_EXECUTIONS} > 0), 1) > {ERROR_RATIO}\n"
    f"and {_MACHINE_FAILURES} >= {MIN_FAILURES}"
)

_RUNTIME = f"{OWNER}, {BATCH_JOB}, runtime_tag"
_SAME_RUNTIME = f"cluster, instance_id, {_RUNTIME}"
"""Labels of a runtime that an exporter at another address keeps, such as the next pod."""

_GAP = gap(WINDOW)
_OVER = over(_GAP, HANG_CRITICAL_FACTOR, HANG_CRITICAL_SECONDS)
_WAS_OVER = over(MAX_GAP, HANG_CRITICAL_FACTOR, HANG_CRITICAL_SECONDS)
_KNOWN_GAP = gap(WINDOW, '{instance_id!=""}')
_HANGS = f"""max by ({MACHINE}, {_RUNTIME}) (
  {indent(_OVER)}
  or ({indent(_WAS_OVER)})
    and on ({TARGET}, {_RUNTIME}) {indent(since_start(_GAP, WINDOW))}
  or 0 * ({indent(since_start(_KNOWN_GAP, WINDOW))})
    + on ({_SAME_RUNTIME}) group_left () max by ({_SAME_RUNTIME}) (
      ({indent(_WAS_OVER)})
      unless on ({TARGET}) {UP}
    )
)"""
_SUSPICIOUS = f"max by ({MACHINE}, {_RUNTIME}) (\n  {indent(suspicious(WINDOW))}\n)"

ALERTS = (
    Alert(
        name="NeuronErrorRatio",
        expr=_MACHINE_FAILURE_RATIO,
        for_="5m",
        severity="critical",
        summary=f"{PERCENT} of the executions on {MACHINE_NAME} fail by hardware, runtime or "
        "timeout.",
        description=f"On {MACHINE_NAME}, {PERCENT} of the executions have an error of the hardware "
        f"or the Neuron Runtime, or time out, and at least {MIN_FAILURES} in five minutes. First "
        "see which: neuron_execution_errors_total by error_type, neuron_executions_total by "
        "status_type.",
        rationale="The machine's own counters outlive its runtimes. Among few executions, a single "
        "failure is a large share.",
    ),
    Alert(
        name="NeuronWorkloadErrorRatio",
        expr=(
            f"instance:neuron_executions_failed:ratio_rate{WINDOW} > {ERROR_RATIO}\n"
            f"and {_FAILURES} >= {MIN_FAILURES}\n"
            f"unless ({_MACHINE_FAILURE_RATIO})"
        ),
        for_="5m",
        severity="warning",
        summary=f"{PERCENT} of the executions on {MACHINE_NAME} fail.",
        description=f"On {MACHINE_NAME}, {PERCENT} of the executions end in a status other than "
        f"completed, and at least {MIN_FAILURES} in five minutes. Errors of the hardware and the "
        "Neuron Runtime and timeouts alone are below the threshold of NeuronErrorRatio.",
        rationale="Bad input is a matter of the workload, and can wait until working hours. "
        "NeuronErrorRatio covers failures of the machine.",
    ),
    Alert(
        name="NeuronTimeouts",
        expr=(
            f"sum by ({MACHINE}) "
            f'(rate(neuron_executions_total{{status_type="timed_out"}}[{WINDOW}]))\n'
            f"  / (sum by ({MACHINE}) (rate(neuron_executions_total[{WINDOW}])) > 0) "
            f"> {TIMEOUT_RATIO}\n"
            f"and {_EXECUTIONS} >= {MIN_EXECUTIONS}"
        ),
        for_="5m",
        severity="warning",
        summary=f"{PERCENT} of the executions on {MACHINE_NAME} time out.",
        description=f"On {MACHINE_NAME}, {PERCENT} of the executions time out. Timeouts often "
        "precede a hang.",
        rationale="The threshold is a tenth of that of NeuronErrorRatio because bad input does not "
        "explain a timeout. Among few executions, one timeout is a large share.",
    ),
    Alert(
        name="NeuronHang",
        expr=_HANGS,
        for_="1m",
        severity="critical",
        summary="NeuronCores{{ with $labels.runtime_tag }} of {{ . }}{{ end }} on "
        f"{MACHINE_NAME} are busy, but no execution ends.",
        description="NeuronCores{{ with $labels.runtime_tag }} of {{ . }}{{ end }} on "
        f"{MACHINE_NAME} have been busy for {{{{ $value | humanizeDuration }}}}, but no execution "
        "has ended. In the last six hours, executions ended at most a fifth of this time apart, or "
        "there were none. First read the log of the process: neuroncore_runtime_info has its pid "
        "and pod.",
        rationale="The exporter measures the gap and knows what is usual for the runtime, so that "
        "a long execution is no hang. A restart of the exporter begins a new gap; the gap of the "
        "old one counts while no execution has ended since, on Kubernetes by instance_id, because "
        "the new exporter has another address.",
    ),
    Alert(
        name="NeuronHangSuspected",
        expr=f"{_SUSPICIOUS}\nunless on ({TARGET}, {_RUNTIME}) {_HANGS}",
        for_="1m",
        severity="warning",
        summary="No execution of {{ with $labels.runtime_tag }}{{ . }} on {{ end }}"
        f"{MACHINE_NAME} has ended for {{{{ $value | humanizeDuration }}}}.",
        description="NeuronCores{{ with $labels.runtime_tag }} of {{ . }}{{ end }} on "
        f"{MACHINE_NAME} have been busy for {{{{ $value | humanizeDuration }}}} without an "
        "execution ending. In the last six hours, executions ended at most a third of this time "
        "apart.",
        rationale="A runtime without history, which may be in its first long execution, has no "
        "warning before NeuronHang.",
    ),
    Alert(
        name="NeuronLatencyHigh",
        expr=(
            f"{_P99}\n"
            f"  > {LATENCY_FACTOR} * avg_over_time({_P99}[1d] offset 1h)\n"
            f"and {_P99} offset 2h\n"
            f"and on ({TARGET}, runtime_tag) sum by ({TARGET}, runtime_tag) "
            f"(increase(execution_status_total[{WINDOW}])) >= {MIN_EXECUTIONS}"
        ),
        for_="10m",
        severity="info",
        summary=f"The p99 latency of {{{{ $labels.runtime_tag }}}} on {MACHINE_NAME} is over "
        f"{LATENCY_FACTOR} times its baseline.",
        description=f"The p99 latency of executions of {{{{ $labels.runtime_tag }}}} on "
        f"{MACHINE_NAME} is {{{{ $value | humanizeDuration }}}}, more than {LATENCY_FACTOR} times "
        "its average over the day that ended an hour ago.",
        rationale="Each model has its own normal latency, so it is compared with its own past. "
        "Without two hours of history there is no baseline and no alert. The p99 of few "
        "executions is the slowest of them.",
    ),
    STRAGGLER,
)
