"""The schema: descriptions, and the marks of reloadable keys."""

from __future__ import annotations

from neuron_exporter.config import Config
from neuron_exporter.config.section import is_reloadable, keys
from neuron_exporter.config.values import is_duration

RELOADABLE = {
    "prometheus.web_config_file",
    "prometheus.preset",
    "prometheus.include",
    "prometheus.exclude",
    "cloudwatch.preset",
    "cloudwatch.include",
    "cloudwatch.exclude",
    "cloudwatch.dimension_sets",
    "cloudwatch.extra_dimensions",
    "cloudwatch.budget.max_metrics",
    "cloudwatch.budget.max_monthly_usd",
    "cloudwatch.budget.keep",
    "otlp.preset",
    "otlp.include",
    "otlp.exclude",
    "otlp.budget.max_monthly_usd",
    "otlp.budget.keep",
    "hardware.sysfs",
    "log.level",
}


def test_reloadable_keys() -> None:
    assert {key for key, field in keys(Config) if is_reloadable(field)} == RELOADABLE


def test_duration_keys() -> None:
    assert {key for key, field in keys(Config) if is_duration(field)} == {
        "source.period",
        "cloudwatch.flush_interval",
        "cloudwatch.spool.max_age",
        "otlp.interval",
        "otlp.spool.max_age",
    }


def test_every_key_has_one_sentence() -> None:
    for key, field in keys(Config):
        description = field.description or ""
        assert description.endswith("."), key
        assert ". " not in description, key
        assert "|" not in description, key
