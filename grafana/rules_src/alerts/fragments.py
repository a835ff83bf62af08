"""Parts of expressions and texts that several alerts share."""

from __future__ import annotations

from grafana.rules_src.parameters import JOB, JOB_MEMORY, JOBS, WINDOW

MACHINE_NAME = "{{ with $labels.instance_id }}{{ . }} {{ end }}({{ $labels.instance }})"
JOB_NAME = "job {{ $labels.job }}{{ with $labels.cluster }} in cluster {{ . }}{{ end }}"
DEVICE_NAME = f"device {{{{ $labels.neuron_device_index }}}} of {MACHINE_NAME}"
PERCENT = "{{ $value | humanizePercentage }}"
COUNT = '{{ $value | printf "%.0f" }}'
"""An increase as a whole number, which Prometheus extrapolates to a fraction."""

UP = f'up{{job=~"{JOBS}"}}'
IS_EXPORTER_JOB = (
    f"and on ({JOB}) last_over_time(job:neuron_exporter_build_info:group{WINDOW}[{JOB_MEMORY}])"
)
