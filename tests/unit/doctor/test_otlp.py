"""OTLP as the doctor checks it: healthy, unreachable, rejecting, and without what it needs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Verdict
from neuron_exporter.doctor.otlp import check
from neuron_exporter.doctor.remedies import IN_ENVIRONMENT
from neuron_exporter.doctor.scraped import ScrapedMetrics
from tests.support.doctor import make_context
from tests.support.otlp_front import OtlpFront, fail, otlp_front, page, redirect

KEY = "geheimnis-0123456789"
METRICS = "neuron_exporter_build_info 1\n"


@pytest.fixture
def front() -> Iterator[OtlpFront]:
    """Start a receiver that rejects what CloudWatch's page forbids."""
    with otlp_front() as started:
        started.allows_empty = True
        yield started


def sending_to(url: str | None, environment: dict[str, str] | None = None, **more: Any) -> Context:
    """Return the context of a machine that sends to this URL."""
    return make_context(environment, otlp__enabled=True, otlp__endpoint=url, **more)


def findings(context: Context) -> list[tuple[Verdict, str, str]]:
    """Return all findings, each as verdict, text and remedy."""
    return [(each.verdict, each.seen, each.fix) for each in check(context)]


def failure(context: Context) -> tuple[str, str]:
    """Return text and remedy of the only finding, a failure."""
    ((verdict, seen, fix),) = findings(context)
    assert verdict is Verdict.FAILED
    return seen, fix


def test_off() -> None:
    assert findings(make_context()) == [(Verdict.SKIPPED, "otlp.enabled is false", "")]


def test_healthy(front: OtlpFront) -> None:
    """A request without metrics arrives, with the headers."""
    headers = {"X-Key": {"variable": "KEY"}}
    ((verdict, seen, _),) = findings(sending_to(front.url, {"KEY": KEY}, otlp__headers=headers))
    assert (verdict, seen) == (
        Verdict.OK,
        f"{front.endpoint} accepts a request (without metrics)",
    )
    (request,) = front.requests
    assert request.headers["X-Key"] == KEY
    assert list(request.points) == []


def test_rejected_header(front: OtlpFront) -> None:
    """A receiver that repeats the key in its answer does not get it shown."""
    front.respond_with(fail(401, f"unknown key {KEY}"))
    seen, fix = failure(sending_to(front.url, otlp__headers={"X-Key": KEY}))
    assert "HTTP401: HTTP 401: unknown key ***" in seen
    assert fix.startswith("check otlp.headers")


def test_another_server(front: OtlpFront) -> None:
    front.respond_with(fail(404, "no such page"))
    seen, fix = failure(sending_to(front.url))
    assert "rejects a request without metrics: HTTP404: HTTP 404: no such page" in seen
    assert "/v1/metrics" in fix


def test_receiver_that_wants_points(front: OtlpFront) -> None:
    """That is no fault, which only a delivery proves."""
    front.allows_empty = False
    context = sending_to(front.url)
    ((verdict, seen, _),) = findings(context)
    assert verdict is Verdict.WARNING
    assert seen.endswith("rejects a request without metrics: HTTP400: HTTP 400: has no data points")
    context.scraped = ScrapedMetrics(f'{METRICS}neuron_exporter_sink_up{{sink="otlp"}} 1\n')
    assert [each for each, _, _ in findings(context)] == [Verdict.OK]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (page, "UnexpectedAnswer"),
        (redirect("https://login.example.com/"), "Redirect"),
        (fail(503), "HTTP503"),
    ],
)
def test_other_answers(front: OtlpFront, answer: Any, code: str) -> None:
    front.respond_with(answer)
    seen, fix = failure(sending_to(front.url))
    assert f"does not accept requests: {code}" in seen
    assert "otlp.endpoint" in fix


def test_nothing_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        seen, fix = failure(sending_to(url))
    assert seen.startswith(f"{url}/v1/metrics does not accept requests: ")
    assert "4317" in fix


def test_file_of_a_header(front: OtlpFront, tmp_path: Path) -> None:
    path = tmp_path / "key"
    context = sending_to(front.url, otlp__headers={"X-Key": {"file": str(path)}})
    seen, fix = failure(context)
    assert "HeaderUnusable" in seen
    assert "otlp.headers" in fix
    path.write_text(f"{KEY}\n")
    assert [verdict for verdict, _, _ in findings(context)] == [Verdict.OK]


def test_unknown_region() -> None:
    seen, fix = failure(sending_to(None, otlp__auth="sigv4"))
    assert seen == "the region is unknown: nothing can be sent"
    assert "identity.region" in fix


def test_running_exporter_delivers(front: OtlpFront) -> None:
    """Then the doctor lacks something, not the exporter."""
    front.respond_with(fail(401))
    context = sending_to(front.url)
    context.scraped = ScrapedMetrics(f'{METRICS}neuron_exporter_sink_up{{sink="otlp"}} 1\n')
    ((verdict, seen, fix),) = findings(context)
    assert verdict is Verdict.WARNING
    assert seen.endswith("the running exporter delivers, so its environment differs")
    assert fix == IN_ENVIRONMENT


def test_budget(front: OtlpFront) -> None:
    context = sending_to(front.url, otlp__budget__max_monthly_usd=0.5)
    context.scraped = ScrapedMetrics(f"{METRICS}neuron_exporter_otlp_budget_dropped_metrics 3\n")
    (budget, sent) = findings(context)
    assert budget[:2] == (
        Verdict.WARNING,
        "3 metrics exceed the budget of 0.5 USD a month: not sent",
    )
    assert sent[0] is Verdict.OK
