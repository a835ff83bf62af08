"""The alerts. Each expression looks at a window, never at one scrape: one that fails ends every
series of its target for that moment, and would set back the time that an alert has waited."""

from __future__ import annotations

from grafana.rulebook.model import Alert, Group
from grafana.rulebook.parameters import (
    CORRECTED_ECC_PER_HOUR,
    DEVICE_MEMORY,
    ERROR_RATIO,
    HANG_BUSY,
    IDLE,
    JOB,
    JOBS,
    KNOWN,
    LATENCY_TIMES,
    MACHINE,
    SEEN_SHARE,
    SMOOTH,
    SOURCE_SHARE,
    SPOOL_BYTES,
    SPOOL_SECONDS,
    TARGET,
    TIMEOUT_RATIO,
)

_WHO = "{{ with $labels.instance_id }}{{ . }} {{ end }}({{ $labels.instance }})"
_JOB = "job {{ $labels.job }}{{ with $labels.cluster }} in cluster {{ . }}{{ end }}"
_UP = f'up{{job=~"{JOBS}"}}'
_KNOWN = f"and on ({JOB}) last_over_time(job:neuron_exporter_build_info:group{SMOOTH}[{KNOWN}])"
_P99 = f"workload:execution_latency_p99_seconds:avg{SMOOTH}"

_MACHINE_HANGS = (
    f"instance:neuroncore_utilization:max_avg{SMOOTH} > {HANG_BUSY}\n"
    f"and instance:neuron_executions:rate{SMOOTH} == 0"
)
_HELD = f"last_over_time(neuroncore_runtime_info[{SMOOTH}])"
_WORKLOAD_HANGS = f"""max by ({MACHINE}, runtime_tag) (
    (max by ({MACHINE}, runtime_tag, neuroncore) ({_HELD})
      unless on ({TARGET}, neuroncore) count by ({TARGET}, neuroncore) ({_HELD}) > 1)
    * on ({TARGET}, neuroncore) group_left ()
      max by ({TARGET}, neuroncore) (avg_over_time(neuroncore_utilization_ratio[{SMOOTH}]))
  ) > {HANG_BUSY}
  and on ({TARGET}, runtime_tag)
    sum by ({TARGET}, runtime_tag) (rate(execution_status_total[{SMOOTH}])) == 0"""

_SIGHT = (
    Alert(
        name="NeuronExporterDown",
        expr=f"{_UP} == 0\n{_KNOWN}",
        lasting="5m",
        severity="warning",
        summary="The exporter of {{ $labels.instance }} cannot be scraped.",
        description="Prometheus (job {{ $labels.job }}) knows the target {{ $labels.instance }} "
        "and has had no answer for 5 minutes: nothing is known of its NeuronCores.",
        because="`up` is Prometheus' own, and has a value at every attempt. Workloads may have a "
        "job with such a name as well: only where an exporter answered lately is one missed.",
    ),
    Alert(
        name="NeuronMachineVanished",
        expr=(
            "last_over_time(neuroncores_in_use[1h]) > 0\n"
            f"unless on ({TARGET}) last_over_time({_UP}[{SMOOTH}])\n"
            "unless on (cluster, instance_id)\n"
            f'  last_over_time(neuroncores_in_use{{instance_id!=""}}[{SMOOTH}])'
        ),
        lasting="5m",
        severity="warning",
        summary=f"{_WHO} vanished while its NeuronCores were busy.",
        description=f"Service discovery no longer names {_WHO}, and the last that was seen of it "
        "is {{ $value }} busy NeuronCores. What is drained before it is removed is idle then.",
        because="A target that is gone has no `up`. Scaling in is no fault, which is why the cores "
        "must have been busy; an exporter that came back at another address is the same machine, "
        "if its id is known.",
    ),
    Alert(
        name="NeuronFleetUnseen",
        expr=(
            f'(sum by ({JOB}) (sum_over_time(neuron_exporter_up{{job=~"{JOBS}"}}[{SMOOTH}]))\n'
            f"  or sum by ({JOB}) ({_UP}) * 0)\n"
            f"/ sum by ({JOB}) (count_over_time({_UP}[{SMOOTH}])) < {SEEN_SHARE}\n"
            f"{_KNOWN}"
        ),
        lasting="10m",
        severity="critical",
        summary=f"Fewer than half of the machines of {_JOB} report.",
        description="Only {{ $value | humanizePercentage }} of the scrapes of "
        f"{_JOB} found an exporter whose neuron-monitor reports: every other alert is blind there.",
        because="One machine that nobody sees is for the day; a fleet is not. A job without "
        "targets, as that of a fleet that is scaled to nothing, has no value.",
    ),
    Alert(
        name="NeuronSourceDown",
        expr=(
            f"avg_over_time(neuron_exporter_up[{SMOOTH}]) < {SOURCE_SHARE}\n"
            f"unless on ({TARGET})\n"
            f'  max_over_time(neuron_exporter_source_state{{state="paused"}}[{SMOOTH}]) == 1'
        ),
        lasting="5m",
        severity="warning",
        summary="neuron-monitor does not report on {{ $labels.instance }}.",
        description="The exporter on {{ $labels.instance }} answers, but had reports of its "
        "hardware for only {{ $value | humanizePercentage }} of the last 5 minutes. "
        "neuron_exporter_source_state says why.",
        because="neuron_exporter_up is 0 when the last report is older than three periods, so it "
        "is the report's age as well. A share, since a source that is restarted again and again is "
        "up now and then.",
    ),
    Alert(
        name="NeuronSourcePaused",
        expr=f'min_over_time(neuron_exporter_source_state{{state="paused"}}[{SMOOTH}]) == 1',
        lasting="1h",
        severity="info",
        summary="neuron-monitor has been paused on {{ $labels.instance }} for an hour.",
        description="The exporter on {{ $labels.instance }} was paused by SIGUSR1 and never "
        "resumed: nothing is known of its NeuronCores.",
        because="Whoever resets a driver does so on purpose, and may forget.",
    ),
)

_HARDWARE = (
    Alert(
        name="NeuronUncorrectedEcc",
        expr=(
            f"sum by ({MACHINE}, neuron_device_index) "
            '(increase(hardware_ecc_events_total{event_type=~".*_uncorrected"}[1h])) > 0'
        ),
        lasting="1m",
        severity="critical",
        summary="Uncorrected memory errors on device {{ $labels.neuron_device_index }} of "
        f"{_WHO}.",
        description="Memory or SRAM of Neuron device {{ $labels.neuron_device_index }} of "
        f"{_WHO} had errors in the last hour that could not be corrected: results may be wrong.",
        because="An hour back, so that it stays visible. The counter begins at the first reading: "
        "what a device had before counts for nothing.",
    ),
    Alert(
        name="NeuronCorrectedEccRising",
        expr=(
            f"sum by ({MACHINE}, neuron_device_index) "
            '(increase(hardware_ecc_events_total{event_type=~".*_corrected"}[1h])) '
            f"> {CORRECTED_ECC_PER_HOUR}"
        ),
        lasting="15m",
        severity="warning",
        summary="Many corrected memory errors on device {{ $labels.neuron_device_index }} of "
        f"{_WHO}.",
        description="Neuron device {{ $labels.neuron_device_index }} of "
        f"{_WHO} had {{{{ $value | humanize }}}} corrected errors of memory and SRAM in the last "
        "hour.",
        because="Corrected errors do no harm; many of them often come before others.",
    ),
    Alert(
        name="NeuronDeviceMemoryFull",
        expr=f"avg_over_time(neurondevice_memory_utilization_ratio[{SMOOTH}]) > {DEVICE_MEMORY}",
        lasting="5m",
        severity="warning",
        summary="The memory of device {{ $labels.neuron_device_index }} of "
        f"{_WHO} is nearly full.",
        description="{{ $value | humanizePercentage }} of the memory of Neuron device "
        f"{{{{ $labels.neuron_device_index }}}} of {_WHO} is in use: the next model, or a larger "
        "batch, will not load.",
        because="An average over the window, as short peaks of loading are no trouble.",
    ),
)

_WORK = (
    Alert(
        name="NeuronErrorRatio",
        expr=f"instance:neuron_executions_failed:ratio_rate{SMOOTH} > {ERROR_RATIO}",
        lasting="5m",
        severity="critical",
        summary=f"{{{{ $value | humanizePercentage }}}} of the executions on {_WHO} fail.",
        description=f"On {_WHO}, {{{{ $value | humanizePercentage }}}} of the executions end in "
        "another way than completed.",
        because="The machine's own counters never end. One failure among few executions has left "
        "the window before the alert's time is over.",
    ),
    Alert(
        name="NeuronTimeouts",
        expr=(
            f"sum by ({MACHINE}) "
            f'(rate(neuron_executions_total{{status_type="timed_out"}}[{SMOOTH}]))\n'
            f"  / (sum by ({MACHINE}) (rate(neuron_executions_total[{SMOOTH}])) > 0) "
            f"> {TIMEOUT_RATIO}"
        ),
        lasting="5m",
        severity="warning",
        summary=f"{{{{ $value | humanizePercentage }}}} of the executions on {_WHO} time out.",
        description=f"On {_WHO}, {{{{ $value | humanizePercentage }}}} of the executions do not "
        "end in their time. Timeouts often come before a hang.",
        because="Ten times as strict as all failures together, since no input explains a timeout.",
    ),
    Alert(
        name="NeuronHang",
        expr=(
            f"{_MACHINE_HANGS}\n"
            f"or on ({TARGET}, runtime_tag) ({_WORKLOAD_HANGS}\n"
            f"  unless on ({TARGET}) ({_MACHINE_HANGS}))"
        ),
        lasting="15m",
        severity="critical",
        summary="NeuronCores{{ with $labels.runtime_tag }} of {{ . }}{{ end }} on "
        f"{_WHO} are busy, and no execution ends.",
        description=f"On {_WHO}, a NeuronCore{{{{ with $labels.runtime_tag }}}} of "
        "{{ . }}{{ end }} has been {{ $value | humanizePercentage }} busy for 15 minutes, and no "
        "execution{{ with $labels.runtime_tag }} of {{ . }}{{ end }} ended, well or badly.",
        because="The busiest core: whatever hangs may hold one of a hundred. One workload among "
        "others is judged by the cores that it holds alone, since on a shared one it may be the "
        "other that is busy.",
    ),
    Alert(
        name="NeuronLatencyHigh",
        expr=(
            f"{_P99}\n"
            f"  > {LATENCY_TIMES} * avg_over_time({_P99}[1d] offset 1h)\n"
            f"and {_P99} offset 2h"
        ),
        lasting="10m",
        severity="warning",
        summary=f"p99 of {{{{ $labels.runtime_tag }}}} on {_WHO} is over "
        f"{LATENCY_TIMES} times its baseline.",
        description=f"The slowest hundredth of the executions of {{{{ $labels.runtime_tag }}}} on "
        f"{_WHO} takes {{{{ $value | humanizeDuration }}}}, more than {LATENCY_TIMES} times its "
        "average of the day that ended an hour ago.",
        because="What is slow is for each model to say; its own past says it. Without two hours of "
        "past there is no baseline, and no alert.",
    ),
    Alert(
        name="NeuronAllocatedIdle",
        expr=f"holder:neuroncores_allocated_idle:count{SMOOTH} > 0",
        lasting="30m",
        severity="info",
        summary="{{ $labels.namespace }}/{{ $labels.pod }} holds {{ $value }} idle NeuronCores of "
        f"{_WHO}.",
        description="{{ $value }} NeuronCores of "
        f"{_WHO} are allocated to pod {{{{ $labels.pod }}}} ({{{{ $labels.namespace }}}}) and have "
        f"been less than {IDLE * 100:.0f} % busy for 30 minutes.",
        because="Where nobody tells who was given a core, neuroncore_allocated is absent.",
    ),
)

_PUBLISHING = (
    Alert(
        name="NeuronPublishFailing",
        expr=f"max_over_time(neuron_exporter_sink_up[{SMOOTH}]) == 0",
        lasting="10m",
        severity="warning",
        summary="{{ $labels.instance }} cannot deliver to {{ $labels.sink }}.",
        description="The sink {{ $labels.sink }} of the exporter on {{ $labels.instance }} has "
        "delivered nothing for 15 minutes. What it should have sent waits in the spool.",
        because="The spool keeps two weeks by default: nothing is lost yet.",
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
        lasting="0m",
        severity="warning",
        summary="{{ $labels.instance }} has lost values for {{ $labels.sink }}.",
        description="The sink {{ $labels.sink }} of the exporter on {{ $labels.instance }} gave up "
        "about {{ $value | humanize }} requests in the last hour: what was in them is lost.",
        because="A reason's series begins with its first loss, which `increase` does not see; "
        "whether it was there an hour ago, no single scrape tells. One loss is enough, and looks "
        "an hour back: no time has to pass.",
    ),
    Alert(
        name="NeuronSpoolFilling",
        expr=(
            f"max_over_time(neuron_exporter_spool_bytes[{SMOOTH}]) > {SPOOL_BYTES}\n"
            "or (time() - "
            f"(min_over_time(neuron_exporter_spool_oldest_timestamp_seconds[{SMOOTH}]) > 0)\n"
            f"  > {SPOOL_SECONDS})"
        ),
        lasting="15m",
        severity="warning",
        summary="What {{ $labels.instance }} has to send waits for too long.",
        description="Requests of the exporter on {{ $labels.instance }} have waited for more than "
        f"a day, or take more than {SPOOL_BYTES >> 20} MiB: beyond "
        "cloudwatch.spool.max_age and max_bytes the oldest are lost.",
        because="No metric tells the configured limits: these are below the defaults.",
    ),
    Alert(
        name="NeuronOverBudget",
        expr=f"min_over_time(neuron_exporter_cloudwatch_budget_dropped_metrics[{SMOOTH}]) > 0",
        lasting="15m",
        severity="info",
        summary="{{ $labels.instance }} leaves out {{ $value }} metrics for its budget.",
        description="The exporter on {{ $labels.instance }} does not publish {{ $value }} metrics "
        "to CloudWatch, since cloudwatch.budget does not allow them.",
        because="The budget works as it should; what is missing should surprise nobody.",
    ),
)

_CONFIGURATION = (
    Alert(
        name="NeuronConfigRefused",
        expr=f"max_over_time(neuron_exporter_config_last_reload_successful[{SMOOTH}]) == 0",
        lasting="15m",
        severity="info",
        summary="{{ $labels.instance }} has refused its newest configuration.",
        description="The exporter on {{ $labels.instance }} goes on with an older configuration, "
        "since the newest cannot be taken while running.",
        because="It works as before; the next restart takes the file, or ends.",
    ),
    Alert(
        name="NeuronWebConfigRefused",
        expr=f"max_over_time(neuron_exporter_web_config_last_reload_successful[{SMOOTH}]) == 0",
        lasting="15m",
        severity="warning",
        summary="{{ $labels.instance }} cannot use its newest web configuration.",
        description="The exporter on {{ $labels.instance }} goes on with an older certificate or "
        "older passwords, since the newest cannot be used.",
        because="A certificate that was not renewed ends some day.",
    ),
)

GROUPS = (
    Group("neuron-sight", _SIGHT),
    Group("neuron-hardware", _HARDWARE),
    Group("neuron-work", _WORK),
    Group("neuron-publishing", _PUBLISHING),
    Group("neuron-configuration", _CONFIGURATION),
)
