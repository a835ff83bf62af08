"""Check OTLP: budget, credentials, and whether the endpoint accepts a request without metrics."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.delivery import beside_exporter, delivers
from neuron_exporter.doctor.finding import Finding, Subject
from neuron_exporter.pipeline.otlp import (
    endpoint,
    shown_endpoint,
    transport_settings,
    why_unusable,
)
from neuron_exporter.sinks.delivery import aws_errors
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from neuron_exporter.text import safe_message

SUBJECT = Subject("otlp")

_NAME = "otlp"
_FIX_REACH = (
    "check the route, security group or network policy, the proxy and the name server; "
    "otlp.endpoint is the URL of an OTLP/HTTP receiver (port 4318), not of gRPC (4317)"
)
_FIX_REJECTED = (
    "check that otlp.endpoint is the URL for metrics of an OTLP/HTTP receiver, as in "
    "https://HOST:4318/v1/metrics"
)
_FIX_HEADERS = "check otlp.headers: the endpoint does not accept the credentials in them"
_FIX_POLICY = "allow the request in the role's policy (it is in docs/otlp.md)"
_FIX_CREDENTIALS = "check the credentials lines: the role, the variables or the shared files"
_FIX_FILES = {
    "HeaderUnusable": "mount or create the file, or correct its path in otlp.headers",
    "TlsFileUnusable": "mount or create the file, or correct its path in otlp.tls",
}

_DENIED = re.compile("HTTP 40[13]")


def check(context: Context) -> Iterator[Finding]:
    """Check everything that a delivery needs, in that order."""
    config = context.config.otlp
    if not config.enabled:
        yield SUBJECT.skipped("otlp.enabled is false")
        return
    if reason := why_unusable():
        yield SUBJECT.failed(reason, "install it, or set otlp.enabled to false")
        return
    if config.endpoint is None and config.auth == "none":
        return  # the configuration lines report it
    yield from _budget(context)
    region = context.machine.region if config.auth == "sigv4" else ""
    if config.auth == "sigv4" and not region:
        seen, fix = "the region is unknown", "set identity.region or AWS_REGION"
        if context.is_unreadable:
            seen += " here; the state of the running exporter, which may know it, cannot be read"
            yield SUBJECT.skipped(seen, fix)
        else:
            yield SUBJECT.failed(f"{seen}: nothing can be sent", fix)
        return
    yield from beside_exporter(context, _NAME, _delivery(context, region))


def _budget(context: Context) -> Iterator[Finding]:
    if context.scraped is None:
        return
    dropped = context.scraped.value("neuron_exporter_otlp_budget_dropped_metrics")
    if dropped:
        usd = context.config.otlp.budget.max_monthly_usd
        yield SUBJECT.warning(
            f"{dropped:.0f} metrics exceed the budget of {usd} USD a month: not sent",
            "raise otlp.budget.max_monthly_usd or otlp.interval, or select fewer metrics",
        )


def _delivery(context: Context, region: str) -> Iterator[Finding]:
    if context.config.otlp.auth == "sigv4" and not _has_cloudwatch_lines(context):
        # botocore is slow to import, and only needed here.
        from neuron_exporter.doctor import aws

        for finding in aws.check_credentials(region):
            yield finding._replace(subject=SUBJECT)
    yield _send_nothing(context, region)


def _has_cloudwatch_lines(context: Context) -> bool:
    """Return whether the lines about CloudWatch are about the same credentials."""
    cloudwatch = context.config.cloudwatch
    return cloudwatch.enabled and cloudwatch.transport == "api"


def _send_nothing(context: Context, region: str) -> Finding:
    """Send a request without metrics, as the sink does."""
    from neuron_exporter.sinks.otlp.request import ExportRequest
    from neuron_exporter.sinks.otlp.transport import OtlpTransport

    config = context.config.otlp
    opened = OtlpTransport(region, transport_settings(config, context.environment))
    try:
        # Protobuf encodes an ExportMetricsServiceRequest without resources as no bytes.
        request = ExportRequest(endpoint(config) or "", region, time.time(), b"")
        outcome = opened.send(request)
    finally:
        opened.close()
    where = f"{shown_endpoint(config)}{f' in {region}' if region else ''}"
    if outcome.verdict is Verdict.DELIVERED:
        return SUBJECT.ok(f"{where} accepts a request (without metrics)")
    seen = f"{outcome.code}: {safe_message(outcome.message)}" if outcome.message else outcome.code
    if outcome.verdict is Verdict.REJECTED:
        seen = f"{where} rejects a request without metrics: {seen}"
        if not outcome.message.startswith("HTTP 400"):
            return SUBJECT.failed(seen, _FIX_REJECTED)
        if delivers(context, _NAME):
            return SUBJECT.ok(f"{seen}; the running exporter delivers")
        return SUBJECT.warning(seen, f"ignore this if metrics arrive; otherwise {_FIX_REJECTED}")
    return SUBJECT.failed(f"{where} does not accept requests: {seen}", _fix(context, outcome))


def _fix(context: Context, outcome: Outcome) -> str:
    if context.config.otlp.auth == "sigv4":
        if outcome.code in aws_errors.DENIED:
            return _FIX_POLICY
        if outcome.code in aws_errors.CREDENTIALS or outcome.code == aws_errors.NO_CREDENTIALS:
            return _FIX_CREDENTIALS
    if _DENIED.match(outcome.message):
        return _FIX_HEADERS
    return _FIX_FILES.get(outcome.code, _FIX_REACH)
