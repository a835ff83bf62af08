"""The document of the page: prepared once, and asked for cheaply."""

from __future__ import annotations

import json
import tomllib
from email.message import Message
from typing import Any

import pytest

from neuron_exporter import log
from neuron_exporter.config import Given, load
from neuron_exporter.daemon import snapshot_api as live
from neuron_exporter.daemon.routes import SNAPSHOT, routes
from neuron_exporter.model import Moment, SourceState
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.web import Request, Response
from neuron_exporter.web.page import files
from tests.support.paths import PACKAGE, ROOT
from tests.support.reports import cores, executions, report, runtime

BUSY = report(runtime(7, "a", neuroncore_counters=cores(_0=50), execution_stats=executions(10)))


class Clock:
    """Stands for `time` in the module, and is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def time(self) -> float:
        """Unix seconds."""
        return 1_700_000_000 + self.now


class Asked:
    """A pipeline that is fed by hand, and its answers."""

    def __init__(self, clock: Clock, **settings: Any) -> None:
        given = [Given("x", key.replace("__", "."), value) for key, value in settings.items()]
        self.clock = clock
        self.pipeline: Pipeline = build(load(None, {}, given), environment={})
        self.routes = routes(self.pipeline, list)

    def feed(self, document: dict[str, Any] = BUSY) -> None:
        """Read a report now."""
        at = Moment(self.clock.time(), self.clock.now)
        assert self.pipeline.intake.line(memoryview(json.dumps(document).encode()), at)

    def answer(self, *, known: str = "", is_authenticated: bool = False) -> Response:
        """The answer to a client that has the document with this tag."""
        headers = Message()
        if known:
            headers["If-None-Match"] = known
        return self.routes[SNAPSHOT](Request(SNAPSHOT, headers, is_authenticated))

    def document(self, **request: Any) -> dict[str, Any]:
        """The document."""
        answer = self.answer(**request)
        assert isinstance(answer.body, bytes)
        told: dict[str, Any] = json.loads(answer.body)
        return told


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still."""
    clock = Clock()
    monkeypatch.setattr(live, "time", clock)
    return clock


@pytest.fixture
def asked(clock: Clock) -> Asked:
    """An exporter with CloudWatch on, which has read nothing yet."""
    return Asked(clock, cloudwatch__enabled=True)


def test_before_the_first_report_there_is_a_document(asked: Asked) -> None:
    """Without any report the state is told, and no reading."""
    document = asked.document()
    assert document["version"] == live.VERSION
    assert document["source"]["state"] == "starting"
    assert document["source"]["last_report_at"] is None
    assert document["age_seconds"] is None
    assert document["reading"] == {}


def test_who_has_the_document_is_told_so(asked: Asked) -> None:
    """A client that names what it has gets 304 without a body while nothing changes, whatever the
    time, and the whole document after the next report."""
    asked.feed()
    first = asked.answer()
    tag = first.headers["ETag"]
    asked.clock.now += 5
    same = asked.answer(known=f'"other", {tag}')
    assert (same.status, same.body, same.headers["ETag"]) == (304, b"", tag)
    asked.feed()
    after = asked.answer(known=tag)
    assert after.status == 200
    assert after.headers["ETag"] != tag


def test_a_document_is_made_once_for_all(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask, the hardware is walked once a report and the rest once a second."""
    made: list[object] = []
    real = live.reading
    monkeypatch.setattr(live, "reading", lambda *given: made.append(given) or real(*given))
    asked.feed()
    bodies = {id(asked.answer().body) for _ in range(50)}
    assert (len(made), len(bodies)) == (1, 1)
    asked.clock.now += 1
    assert asked.document()["age_seconds"] == 1.0
    assert len(made) == 1
    asked.feed()
    asked.answer()
    assert len(made) == 2


def test_who_never_asks_pays_nothing(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a client no document is made of a report."""
    monkeypatch.setattr(live, "reading", lambda *_: pytest.fail("nobody asked"))
    for _ in range(3):
        asked.feed()


def test_old_readings_are_not_told(asked: Asked) -> None:
    """When a report is older than it may be shown, as on /metrics, its readings are gone; what is
    left says how old it is, and that is another document."""
    asked.feed()
    tag = asked.answer().headers["ETag"]
    asked.clock.now += 16
    answer = asked.answer(known=tag)
    assert answer.status == 200
    document = asked.document()
    assert document["reading"] == {}
    assert document["source"]["is_fresh"] is False
    assert document["age_seconds"] == 16.0


def test_the_rate_is_that_of_the_last_two_reports(asked: Asked) -> None:
    """Executions a second are there with the second report, whoever looks first."""
    asked.feed()
    asked.clock.now += 5
    asked.feed()
    assert asked.document()["reading"]["executions"]["completed_per_second"] == 2.0


def test_why_the_source_is_sick_is_told(asked: Asked) -> None:
    """State and reason of the source stand in the document a second later at most."""
    asked.document()
    asked.pipeline.intake.state(SourceState.EXITED, "its last words: no")
    asked.clock.now += 1
    source = asked.document()["source"]
    assert (source["state"], source["why"]) == ("exited", "its last words: no")


def test_what_is_not_read_is_named(clock: Clock) -> None:
    """A group that nobody publishes and one that carries an error are missing, each with why."""
    asked = Asked(clock, prometheus__preset="minimal", prometheus__exclude=["system_*"])
    failing = runtime(7, "a", neuroncore_counters={**cores(), "error": "no counters"})
    asked.feed(report(failing))
    missing = {each["group"]: each["why"] for each in asked.document()["missing"]}
    assert missing["neuroncore_counters"] == "no counters"
    assert missing["memory_info"] == "no sink publishes it, so it is not asked for"


def test_what_cloudwatch_costs_is_told(asked: Asked) -> None:
    """State, names, budget and price of what is published, and off where it is off."""
    cloudwatch = asked.document()["sinks"]["cloudwatch"]
    assert cloudwatch["is_on"] is True
    assert cloudwatch["state"] == "waiting for its first window"
    assert "NeuronCoreUtilization" in cloudwatch["names"]
    assert (cloudwatch["budget_metrics"], cloudwatch["monthly_usd"]) == (100, 0.0)
    off = Asked(asked.clock).document()["sinks"]
    assert off["cloudwatch"] == {"is_on": False}
    assert off["prometheus"]["is_on"] is True


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log in which something was said."""
    monkeypatch.setattr(log, "_kept", type(log._kept)(maxlen=log.KEPT_LINES))
    log.configure("info", "json")
    log.get_logger(part="x").warning("it_hurts", where="at\x1b[2J the <b>top</b>")
    log.get_logger().info("nothing_special")


@pytest.mark.usefixtures("logged")
def test_log_lines_are_for_those_who_are_known(asked: Asked) -> None:
    """Who is known sees what was said of importance; who is not sees why not, and never the
    document of the other."""
    known, unknown = asked.document(is_authenticated=True), asked.document()
    (line,) = known["log"]["lines"]
    assert (line["event"], line["level"]) == ("it_hurts", "warning")
    assert line["fields"] == {"part": "x", "where": "at\x1b[2J the <b>top</b>"}
    assert unknown["log"]["lines"] is None
    assert "basic_auth_users" in unknown["log"]["why"]
    tag = asked.answer(is_authenticated=True).headers["ETag"]
    assert asked.answer(known=tag).status == 200


def test_the_log_that_is_kept_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the last lines are remembered, and of each no more than a few hundred characters."""
    monkeypatch.setattr(log, "_kept", type(log._kept)(maxlen=log.KEPT_LINES))
    log.configure("info", "json")
    for number in range(2 * log.KEPT_LINES):
        log.get_logger().error("long", number=number, text="x" * 10_000)
    lines = log.last_lines()
    assert len(lines) == log.KEPT_LINES
    assert lines[-1]["fields"]["number"] == str(2 * log.KEPT_LINES - 1)
    assert len(lines[-1]["fields"]["text"]) == log.LONGEST_KEPT


@pytest.mark.parametrize("page", [True, False])
def test_the_page_may_be_switched_off(clock: Clock, page: bool) -> None:
    """With `web.page: false` there is neither page nor file nor document, and nothing for a look
    inside; all else is there."""
    known = set(Asked(clock, web__page=page).routes)
    always = {"/metrics", "/healthz", "/readyz"}
    assert always <= known
    with_the_page = {"/", SNAPSHOT, "/debug/threads", "/debug/report", "/page/main.js"}
    assert (known > with_the_page) is page
    assert (known == always) is not page


def test_every_file_of_the_page_is_in_the_package() -> None:
    """What is served from here is also served from where the package was installed."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["neuron_exporter"]
    packed = {path for pattern in patterns for path in (PACKAGE).glob(pattern)}
    folder = PACKAGE / "web" / "page"
    there = {path for path in folder.iterdir() if path.is_file() and path.suffix != ".py"}
    assert there
    assert there <= packed
    assert len(files()) == len(there)
