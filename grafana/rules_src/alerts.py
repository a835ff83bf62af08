"""Alerting rules.

Each expression looks at a window rather than at one scrape: a failed scrape ends all series of its
target for a moment, which would restart an alert's `for` period.
"""

from __future__ import annotations

from grafana.rules_src.model import Alert, Group
from grafana.rules_src.parameters import (
    CORRECTED_ECC_PER_HOUR,
    DEVICE_MEMORY_RATIO,
    ERROR_RATIO,
    HANG_UTILIZATION,
    IDLE_UTILIZATION,
    JOB,
    JOB_MEMORY,
    JOBS,
    LATENCY_FACTOR,
    MACHINE,
    MIN_REPORTING_SHARE,
    MIN_SOURCE_UPTIME,
    SPOOL_AGE_SECONDS,
    SPOOL_BYTES,
    TARGET,
    TIMEOUT_RATIO,
    WINDOW,
)

_MACHINE_NAME = "{{ with $labels.instance_id }}{{ . }} {{ end }}({{ $labels.instance }})"
_JOB_NAME = "job {{ $labels.job }}{{ with $labels.cluster }} in cluster {{ . }}{{ end }}"
_DEVICE_NAME = f"device {{{{ $labels.neuron_device_index }}}} of {_MACHINE_NAME}"
_PERCENT = "{{ $value | humanizePercentage }}"

_UP = f'up{{job=~"{JOBS}"}}'
_IS_EXPORTER_JOB = (
    f"and on ({JOB}) last_over_time(job:neuron_exporter_build_info:group{WINDOW}[{JOB_MEMORY}])"
)
_P99 = f"workload:execution_latency_p99_seconds:avg{WINDOW}"

_MACHINE_HANGS = (
    f"instance:neuroncore_utilization:max_avg{WINDOW} > {HANG_UTILIZATION}\n"
    f"and instance:neuron_executions:rate{WINDOW} == 0"
)
_RUNTIME_CORES = f"last_over_time(neuroncore_runtime_info[{WINDOW}])"
_WORKLOAD_HANGS = f"""max by ({MACHINE}, runtime_tag) (
    (max by ({MACHINE}, runtime_tag, neuroncore) ({_RUNTIME_CORES})
      unless on ({TARGET}, neuroncore) count by ({TARGET}, neuroncore) ({_RUNTIME_CORES}) > 1)
    * on ({TARGET}, neuroncore) group_left ()
      max by ({TARGET}, neuroncore) (avg_over_time(neuroncore_utilization_ratio[{WINDOW}]))
  ) > {HANG_UTILIZATION}
  and on ({TARGET}, runtime_tag)
    sum by ({TARGET}, runtime_tag) (rate(execution_status_total[{WINDOW}])) == 0"""

_AVAILABILITY = (
    Alert(
        name="NeuronExporterDown",
        expr=f"{_UP} == 0\n{_IS_EXPORTER_JOB}",
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
            f"unless on ({TARGET}) last_over_time({_UP}[{WINDOW}])\n"
            "unless on (cluster, instance_id)\n"
            f'  last_over_time(neuroncores_in_use{{instance_id!=""}}[{WINDOW}])'
        ),
        for_="5m",
        severity="warning",
        summary=f"{_MACHINE_NAME} disappeared while its NeuronCores were busy.",
        description=f"Service discovery no longer lists {_MACHINE_NAME}, which had {{{{ $value }}}}"
        " busy NeuronCores when it was last scraped. A drained machine would have been idle.",
        rationale="A target that is gone has no `up`. Scaling in is not a failure, so the cores "
        "must have been busy. An exporter that returns at another address is the same machine if "
        "its instance_id is known.",
    ),
    Alert(
        name="NeuronFleetUnseen",
        expr=(
            f'(sum by ({JOB}) (sum_over_time(neuron_exporter_up{{job=~"{JOBS}"}}[{WINDOW}]))\n'
            f"  or sum by ({JOB}) ({_UP}) * 0)\n"
            f"/ sum by ({JOB}) (count_over_time({_UP}[{WINDOW}])) < {MIN_REPORTING_SHARE}\n"
            f"{_IS_EXPORTER_JOB}"
        ),
        for_="10m",
        severity="critical",
        summary=f"Fewer than half of the machines of {_JOB_NAME} report.",
        description=f"Only {_PERCENT} of the scrapes of {_JOB_NAME} found an exporter whose "
        "neuron-monitor reports. All other alerts are blind for this job.",
        rationale="One silent machine can wait until working hours; a silent fleet cannot. A job "
        "without targets, such as a fleet that is scaled to zero, has no value.",
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
        f"only {_PERCENT} of the last 5 minutes. neuron_exporter_source_state shows the reason.",
        rationale="neuron_exporter_up is 0 once the last report is older than three periods, so it "
        "covers stale reports too. The expression is a share because a source that is restarted "
        "repeatedly is up now and then.",
    ),
    Alert(
        name="NeuronSourcePaused",
        expr=f'min_over_time(neuron_exporter_source_state{{state="paused"}}[{WINDOW}]) == 1',
        for_="1h",
        severity="info",
        summary="neuron-monitor has been paused on {{ $labels.instance }} for an hour.",
        description="SIGUSR1 paused the exporter on {{ $labels.instance }}, and it was not resumed."
        " The state of its NeuronCores is unknown.",
        rationale="An operator who pauses the exporter to reset a driver may forget to resume it.",
    ),
)

_HARDWARE = (
    Alert(
        name="NeuronUncorrectedEcc",
        expr=(
            f"sum by ({MACHINE}, neuron_device_index) "
            '(increase(hardware_ecc_events_total{event_type=~".*_uncorrected"}[1h])) > 0'
        ),
        for_="1m",
        severity="critical",
        summary=f"Uncorrected memory errors on {_DEVICE_NAME}.",
        description=f"In the last hour, memory or SRAM of Neuron {_DEVICE_NAME} had errors that "
        "could not be corrected. Results may be wrong.",
        rationale="A window of an hour keeps the error visible. The first reading is the counter's "
        "baseline, so earlier errors of the device do not count.",
    ),
    Alert(
        name="NeuronCorrectedEccRising",
        expr=(
            f"sum by ({MACHINE}, neuron_device_index) "
            '(increase(hardware_ecc_events_total{event_type=~".*_corrected"}[1h])) '
            f"> {CORRECTED_ECC_PER_HOUR}"
        ),
        for_="15m",
        severity="warning",
        summary=f"Many corrected memory errors on {_DEVICE_NAME}.",
        description=f"Neuron {_DEVICE_NAME} had {{{{ $value | humanize }}}} corrected errors of "
        "memory and SRAM in the last hour.",
        rationale="Corrected errors are harmless, but many of them often precede uncorrected ones.",
    ),
    Alert(
        name="NeuronDeviceMemoryFull",
        expr=(
            f"avg_over_time(neurondevice_memory_utilization_ratio[{WINDOW}]) "
            f"> {DEVICE_MEMORY_RATIO}"
        ),
        for_="5m",
        severity="warning",
        summary=f"The memory of {_DEVICE_NAME} is nearly full.",
        description=f"{_PERCENT} of the memory of Neuron {_DEVICE_NAME} is in use. Another model, "
        "or a larger batch, will not fit.",
        rationale="The average ignores short peaks while a model is loaded.",
    ),
)

_WORK = (
    Alert(
        name="NeuronErrorRatio",
        expr=f"instance:neuron_executions_failed:ratio_rate{WINDOW} > {ERROR_RATIO}",
        for_="5m",
        severity="critical",
        summary=f"{_PERCENT} of the executions on {_MACHINE_NAME} fail.",
        description=f"On {_MACHINE_NAME}, {_PERCENT} of the executions end in a status other than "
        "completed.",
        rationale="The machine's own counters outlive its runtimes. A single failure among few "
        "executions leaves the window before the alert fires.",
    ),
    Alert(
        name="NeuronTimeouts",
        expr=(
            f"sum by ({MACHINE}) "
            f'(rate(neuron_executions_total{{status_type="timed_out"}}[{WINDOW}]))\n'
            f"  / (sum by ({MACHINE}) (rate(neuron_executions_total[{WINDOW}])) > 0) "
            f"> {TIMEOUT_RATIO}"
        ),
        for_="5m",
        severity="warning",
        summary=f"{_PERCENT} of the executions on {_MACHINE_NAME} time out.",
        description=f"On {_MACHINE_NAME}, {_PERCENT} of the executions time out. Timeouts often "
        "precede a hang.",
        rationale="The threshold is a tenth of that of NeuronErrorRatio because bad input does not "
        "explain a timeout.",
    ),
    Alert(
        name="NeuronHang",
        expr=(
            f"{_MACHINE_HANGS}\n"
            f"or on ({TARGET}, runtime_tag) ({_WORKLOAD_HANGS}\n"
            f"  unless on ({TARGET}) ({_MACHINE_HANGS}))"
        ),
        for_="15m",
        severity="critical",
        summary="NeuronCores{{ with $labels.runtime_tag }} of {{ . }}{{ end }} on "
        f"{_MACHINE_NAME} are busy, but no execution ends.",
        description=f"On {_MACHINE_NAME}, a NeuronCore{{{{ with $labels.runtime_tag }}}} of "
        f"{{{{ . }}}}{{{{ end }}}} has been {_PERCENT} busy for 15 minutes, but no execution"
        "{{ with $labels.runtime_tag }} of {{ . }}{{ end }} has completed or failed.",
        rationale="The busiest core counts because a hanging workload may use one core of many. "
        "One workload among others is judged by the cores that only it uses, because on a shared "
        "core the other workload may be busy.",
    ),
    Alert(
        name="NeuronLatencyHigh",
        expr=(
            f"{_P99}\n"
            f"  > {LATENCY_FACTOR} * avg_over_time({_P99}[1d] offset 1h)\n"
            f"and {_P99} offset 2h"
        ),
        for_="10m",
        severity="warning",
        summary=f"The p99 latency of {{{{ $labels.runtime_tag }}}} on {_MACHINE_NAME} is over "
        f"{LATENCY_FACTOR} times its baseline.",
        description=f"The p99 latency of executions of {{{{ $labels.runtime_tag }}}} on "
        f"{_MACHINE_NAME} is {{{{ $value | humanizeDuration }}}}, more than {LATENCY_FACTOR} times "
        "its average over the day that ended an hour ago.",
        rationale="Each model has its own normal latency, so it is compared with its own past. "
        "Without two hours of history there is no baseline and no alert.",
    ),
    Alert(
        name="NeuronAllocatedIdle",
        expr=f"holder:neuroncores_allocated_idle:count{WINDOW} > 0",
        for_="30m",
        severity="info",
        summary="{{ $labels.namespace }}/{{ $labels.pod }} has {{ $value }} idle NeuronCores on "
        f"{_MACHINE_NAME}.",
        description=f"{{{{ $value }}}} NeuronCores of {_MACHINE_NAME} are allocated to pod "
        "{{ $labels.pod }} ({{ $labels.namespace }}) and have been less than "
        f"{IDLE_UTILIZATION * 100:.0f} % busy for 30 minutes.",
        rationale="neuroncore_allocated is absent where the exporter does not know allocations.",
    ),
)

_PUBLISHING = (
    Alert(
        name="NeuronPublishFailing",
        expr=f"max_over_time(neuron_exporter_sink_up[{WINDOW}]) == 0",
        for_="10m",
        severity="warning",
        summary="{{ $labels.instance }} cannot deliver to {{ $labels.sink }}.",
        description="The sink {{ $labels.sink }} of the exporter on {{ $labels.instance }} has "
        "delivered nothing for 15 minutes. Its requests wait in the spool.",
        rationale="The spool keeps two weeks by default, so no data is lost yet.",
    ),
    Alert(
        name="NeuronPublishLoss",
        expr=(
            "sum without (reason) (\n"
            "  increase(neuron_exporter_sink_dropped_requests_total[1h]) > 0\n"
            "  or (neuron_exporter_sink_dropped_requests_total unless\n"
            "    last_over_time(neuron_exporter_sink_dropped_requests_total[10m] offset 1h))\n"
            ") > 0"
        ),
        for_="0m",
        severity="warning",
        summary="{{ $labels.instance }} has lost data for {{ $labels.sink }}.",
        description="The sink {{ $labels.sink }} of the exporter on {{ $labels.instance }} dropped "
        "about {{ $value | humanize }} requests in the last hour. Their data is lost.",
        rationale="A reason's series starts with its first loss, which `increase` does not see. "
        "The 10 minutes make sure that a missed scrape an hour ago does not count as a new series. "
        "One loss is enough, so there is no `for` period.",
    ),
    Alert(
        name="NeuronSpoolFilling",
        expr=(
            f"max_over_time(neuron_exporter_spool_bytes[{WINDOW}]) > {SPOOL_BYTES}\n"
            "or (time() - "
            f"(min_over_time(neuron_exporter_spool_oldest_timestamp_seconds[{WINDOW}]) > 0)\n"
            f"  > {SPOOL_AGE_SECONDS})"
        ),
        for_="15m",
        severity="warning",
        summary="The backlog of {{ $labels.instance }} is too old or too large.",
        description="Requests of the exporter on {{ $labels.instance }} have waited for more than "
        f"a day, or occupy more than {SPOOL_BYTES >> 20} MiB. Beyond cloudwatch.spool.max_age and "
        "max_bytes, the exporter drops the oldest requests.",
        rationale="No metric exposes the configured limits; the thresholds are below the defaults.",
    ),
    Alert(
        name="NeuronOverBudget",
        expr=f"min_over_time(neuron_exporter_cloudwatch_budget_dropped_metrics[{WINDOW}]) > 0",
        for_="15m",
        severity="info",
        summary="{{ $labels.instance }} leaves out {{ $value }} metrics because of its budget.",
        description="The exporter on {{ $labels.instance }} does not publish {{ $value }} metrics "
        "to CloudWatch because they exceed cloudwatch.budget.",
        rationale="The budget works as configured, but missing metrics should not be a surprise.",
    ),
)

_CONFIGURATION = (
    Alert(
        name="NeuronConfigRefused",
        expr=f"max_over_time(neuron_exporter_config_last_reload_successful[{WINDOW}]) == 0",
        for_="15m",
        severity="info",
        summary="{{ $labels.instance }} has rejected its newest configuration.",
        description="The exporter on {{ $labels.instance }} continues with its previous "
        "configuration because the newest one is invalid or requires a restart.",
        rationale="The exporter works as before. A restart applies the file, or fails if it is "
        "invalid.",
    ),
    Alert(
        name="NeuronWebConfigRefused",
        expr=f"max_over_time(neuron_exporter_web_config_last_reload_successful[{WINDOW}]) == 0",
        for_="15m",
        severity="warning",
        summary="{{ $labels.instance }} cannot use its newest web configuration.",
        description="The exporter on {{ $labels.instance }} continues with its previous "
        "certificate and passwords because the newest ones cannot be used.",
        rationale="A certificate that is not renewed expires.",
    ),
)

GROUPS = (
    Group("neuron-sight", _AVAILABILITY),
    Group("neuron-hardware", _HARDWARE),
    Group("neuron-work", _WORK),
    Group("neuron-publishing", _PUBLISHING),
    Group("neuron-configuration", _CONFIGURATION),
)
