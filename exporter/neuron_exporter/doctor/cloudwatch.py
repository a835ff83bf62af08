"""Check CloudWatch: dimension sets, budget, endpoint, clock and credentials."""

from __future__ import annotations

from collections.abc import Iterator

from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.delivery import beside_exporter
from neuron_exporter.doctor.finding import Finding, Subject
from neuron_exporter.pipeline.cloudwatch import metric_limit, sink_settings
from neuron_exporter.sinks.cloudwatch.settings import NAME

SUBJECT = Subject("cloudwatch")

_UNREADABLE = " here; the state of the running exporter, which may know it, cannot be read"


def check(context: Context) -> Iterator[Finding]:
    """Check everything that a delivery needs, in that order."""
    config = context.config.cloudwatch
    if not config.enabled:
        yield SUBJECT.skipped("cloudwatch.enabled is false" + _nothing_sent(context))
        return
    yield from _dimensions(context)
    yield from _budget(context)
    if config.transport == "emf":
        yield SUBJECT.ok("transport emf writes to standard output and needs no credentials")
        if context.send:
            yield SUBJECT.skipped("--send has no effect with transport emf")
        return
    region = config.region or context.machine.region
    if not region:
        seen, fix = "the region is unknown", "set cloudwatch.region or AWS_REGION"
        if context.is_unreadable:
            yield SUBJECT.skipped(f"{seen}{_UNREADABLE}{_nothing_sent(context)}", fix)
        else:
            yield SUBJECT.failed(f"{seen}: nothing can be sent{_nothing_sent(context)}", fix)
        return
    yield from beside_exporter(context, NAME, _delivery(context, region))
    if context.send:
        from neuron_exporter.doctor import aws

        yield aws.send_one(context.config.cloudwatch, region)


def _nothing_sent(context: Context) -> str:
    return ": --send sends nothing" if context.send else ""


def _dimensions(context: Context) -> Iterator[Finding]:
    settings = sink_settings(context.config)
    complete, missing = settings.resolve(context.machine)
    number = len(settings.dimension_sets)
    unknown = f"{', '.join(missing)} unknown"
    fix = "check the identity lines, or remove these from cloudwatch.dimension_sets"
    if not complete and context.is_unreadable:
        yield SUBJECT.skipped(f"no dimension set is complete: {unknown}{_UNREADABLE}", fix)
    elif not complete:
        yield SUBJECT.failed(f"no dimension set is complete: {unknown}; nothing is sent", fix)
    elif len(complete) < number:
        incomplete = number - len(complete)
        seen = f"{incomplete} of {number} dimension sets are not sent: {unknown}"
        yield SUBJECT.warning(seen, fix)
    else:
        sets = "; ".join(", ".join(each.names) or "(no dimensions)" for each in complete)
        yield SUBJECT.ok(f"complete dimension sets: {sets}")


def _budget(context: Context) -> Iterator[Finding]:
    if context.scraped is None:
        return
    dropped = context.scraped.value("neuron_exporter_cloudwatch_budget_dropped_metrics")
    selected = context.scraped.value("neuron_exporter_cloudwatch_wanted_metrics") or 0
    limit = metric_limit(context.config.cloudwatch)
    if dropped:
        yield SUBJECT.warning(
            f"{dropped:.0f} of {selected:.0f} metrics exceed the budget of {limit}: not published",
            "raise cloudwatch.budget, or select fewer dimension sets or metrics; `neuron-exporter "
            "cost --config FILE` shows what they cost",
        )
    elif limit is not None and selected:
        yield SUBJECT.ok(f"{selected:.0f} metrics of {limit} that the budget allows")


def _delivery(context: Context, region: str) -> Iterator[Finding]:
    # botocore is slow to import, and only needed here.
    from neuron_exporter.doctor import aws

    try:
        url = aws.endpoint(region, context.config.cloudwatch.endpoint_url)
    except Exception as error:  # noqa: BLE001 (botocore raises many types for invalid settings)
        yield SUBJECT.failed(
            f"no endpoint for region {region}: {type(error).__name__}",
            "check cloudwatch.region, cloudwatch.endpoint_url and the AWS_ variables",
        )
        return
    response = aws.check_endpoint(url)
    yield response.finding
    yield from aws.check_clock(response.skew)
    yield from aws.check_credentials(region)
