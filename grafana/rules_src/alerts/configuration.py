"""Alerts on rejected configurations."""

from __future__ import annotations

from grafana.rules_src.model import Alert
from grafana.rules_src.parameters import CERTIFICATE_DAYS, WINDOW

_ENDS = (
    "{{ if gt $value 0.0 }}ends in {{ $value | humanizeDuration }}{{ else }}has expired{{ end }}"
)

ALERTS = (
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
    Alert(
        name="NeuronWebCertificateExpires",
        expr=(
            f"last_over_time(neuron_exporter_web_certificate_expiry_timestamp_seconds[{WINDOW}])"
            f" - time() < {CERTIFICATE_DAYS} * 86400"
        ),
        for_="15m",
        severity="warning",
        summary=f"The certificate of {{{{ $labels.instance }}}} {_ENDS}.",
        description="The certificate with which the exporter on {{ $labels.instance }} serves "
        f"metrics {_ENDS}. A Prometheus that verifies it cannot scrape the exporter afterwards.",
        rationale="Two weeks leave time for a renewal by hand. The exporter reads a new file by "
        "itself.",
    ),
)
