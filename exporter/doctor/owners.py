"""Who holds which core: what reports tell of it."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.doctor.advice import of_group
from exporter.doctor.case import Case
from exporter.doctor.finding import Finding, ok, skipped, warning
from exporter.publish import by_holder

SUBJECT = "owners"

_LABELS = ("pod", "namespace", "container")


def examine(case: Case) -> Iterator[Finding]:
    """See whether cores have names of pods, and whether somebody wants them to."""
    yield _by_report(case)


def _by_report(case: Case) -> Finding:
    sent = case.config.cloudwatch
    wanted = sent.enabled and any(by_holder(sent))
    info = case.report.neuron_k8s_info if case.report is not None else None
    if info is not None:
        if info.error:
            return warning(SUBJECT, f"neuron_k8s_info: {info.error}", of_group("neuron_k8s_info"))
        cores = len(info.neuroncores_k8s_info or ())
        return ok(SUBJECT, f"neuron_k8s_info names the pods of {cores} cores")
    if case.exposed is not None and any(case.exposed.anywhere(label) for label in _LABELS):
        return ok(SUBJECT, "series of the running exporter name pods")
    seen = "reports name no pods (they have no neuron_k8s_info)"
    if not wanted:
        return skipped(SUBJECT, seen)
    return warning(
        SUBJECT,
        f"{seen}, and a dimension set is by holder: it stays empty",
        "turn neuron_k8s_info on (tools of SDK 2.23 or newer, Kubernetes), or leave the set out",
    )
