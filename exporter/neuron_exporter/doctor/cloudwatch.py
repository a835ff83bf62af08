"""What goes to CloudWatch: its dimensions, its place, its credentials, its budget."""

from __future__ import annotations

from collections.abc import Iterator

from neuron_exporter.doctor.context import Case
from neuron_exporter.doctor.finding import Finding, failed, ok, skipped, warning
from neuron_exporter.pipeline import cloudwatch as publish
from neuron_exporter.sinks.cloudwatch.dimensions import resolve_all

SUBJECT = "cloudwatch"


def examine(case: Case) -> Iterator[Finding]:
    """Everything that a delivery needs, in the order in which it needs it."""
    sent = case.config.cloudwatch
    if not sent.enabled:
        yield skipped(SUBJECT, "cloudwatch.enabled is false" + _nothing_sent(case))
        return
    yield from _dimensions(case)
    yield from _budget(case)
    if sent.transport == "emf":
        yield ok(SUBJECT, "transport emf: lines on standard output need no credentials")
        if case.send:
            yield skipped(SUBJECT, "--send has no effect: it is for transport api")
        return
    region = sent.region or case.machine.region
    if not region:
        yield failed(
            SUBJECT,
            "the region is not known: nothing can be sent" + _nothing_sent(case),
            "set cloudwatch.region, or AWS_REGION",
        )
        return
    yield from _delivery(case, region)


def _nothing_sent(case: Case) -> str:
    return ": --send sends nothing" if case.send else ""


def _dimensions(case: Case) -> Iterator[Finding]:
    settings = publish.settings(case.config.cloudwatch)
    complete, missing = resolve_all(settings, case.machine)
    number = len(settings.dimension_sets)
    names = ", ".join(missing)
    if not complete:
        yield failed(
            SUBJECT,
            f"no dimension set is complete: {names} not known; nothing is sent",
            "see what is said of the identity, or leave these out of cloudwatch.dimension_sets",
        )
    elif len(complete) < number:
        yield warning(
            SUBJECT,
            f"{number - len(complete)} of {number} dimension sets are not sent: {names} not known",
            "see what is said of the identity, or leave these out of cloudwatch.dimension_sets",
        )
    else:
        sets = "; ".join(", ".join(each.names) or "(no dimension)" for each in complete)
        yield ok(SUBJECT, f"complete dimension sets: {sets}")


def _budget(case: Case) -> Iterator[Finding]:
    if case.exposed is None:
        return
    dropped = case.exposed.value("neuron_exporter_cloudwatch_budget_dropped_metrics")
    wanted = case.exposed.value("neuron_exporter_cloudwatch_wanted_metrics") or 0
    limit = publish.limit(case.config.cloudwatch)
    if dropped:
        yield warning(
            SUBJECT,
            f"{dropped:.0f} of {wanted:.0f} metrics are over the budget of {limit}: not published",
            "raise cloudwatch.budget, or choose fewer dimension sets or metrics; `neuron-exporter "
            "cost --config FILE` prices them",
        )
    elif limit is not None and wanted:
        yield ok(SUBJECT, f"{wanted:.0f} metrics, of {limit} that the budget allows")


def _delivery(case: Case, region: str) -> Iterator[Finding]:
    # botocore is for those who publish.
    from neuron_exporter.doctor import aws

    try:
        url = aws.endpoint(region, case.config.cloudwatch.endpoint_url)
    except Exception as error:  # noqa: BLE001 (botocore raises many kinds for odd settings)
        yield failed(
            SUBJECT,
            f"no endpoint for region {region}: {type(error).__name__}",
            "see cloudwatch.region, cloudwatch.endpoint_url and the AWS_ variables",
        )
        return
    reached = aws.reach(url)
    yield reached.finding
    yield from aws.clock(reached.skew)
    yield from aws.caller(region)
    if case.send:
        yield aws.send_one(case.config.cloudwatch, region)
