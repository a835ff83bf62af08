"""The document `/api/v1/snapshot`: its content, caching and ETag."""

from __future__ import annotations

import json
import tomllib
from email.message import Message
from typing import Any

import pytest

from neuron_exporter import log
from neuron_exporter.config import Override, load
from neuron_exporter.daemon import snapshot_api
from neuron_exporter.daemon.routes import SNAPSHOT, routes
from neuron_exporter.model import SourceState, Timestamp
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.web import Request, Response
from neuron_exporter.web.page import page_routes
from tests.support.paths import PACKAGE, ROOT
from tests.support.reports import cores, executions, report, runtime

BUSY = report(runtime(7, "a", neuroncore_counters=cores(_0=50), execution_stats=executions(10)))


class ManualClock:
    """Replacement of `time` in the module."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Return seconds."""
        return self.now

    def time(self) -> float:
        """Return Unix seconds."""
        return 1_700_000_000 + self.now


class Api:
    """A pipeline that is fed by hand, and its routes."""

    def __init__(self, clock: ManualClock, **settings: Any) -> None:
        flags = [Override("x", key.replace("__", "."), value) for key, value in settings.items()]
        self.clock = clock
        self.pipeline: Pipeline = build(load(None, {}, flags), environment={})
        self.routes = routes(self.pipeline, list)

    def feed(self, document: dict[str, Any] = BUSY) -> None:
        """Process a report now."""
        at = Timestamp(self.clock.time(), self.clock.now)
        assert self.pipeline.processor.on_line(memoryview(json.dumps(document).encode()), at)

    def get(self, *, etag: str = "", is_authenticated: bool = False) -> Response:
        """Return the response for a client with this ETag."""
        headers = Message()
        headers["Host"] = "localhost"
        if etag:
            headers["If-None-Match"] = etag
        return self.routes[SNAPSHOT](Request(SNAPSHOT, headers, is_authenticated))

    def document(self, **request: Any) -> dict[str, Any]:
        """Return the document."""
        get = self.get(**request)
        assert isinstance(get.body, bytes)
        document: dict[str, Any] = json.loads(get.body)
        return document


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """Replace the module's clock by one that stands still."""
    clock = ManualClock()
    monkeypatch.setattr(snapshot_api, "time", clock)
    return clock


@pytest.fixture
def api(clock: ManualClock) -> Api:
    """Return an exporter with CloudWatch on and no report yet."""
    return Api(clock, cloudwatch__enabled=True)


def test_document_before_first_report(api: Api) -> None:
    document = api.document()
    assert document["version"] == snapshot_api.VERSION
    assert document["source"]["state"] == "starting"
    assert document["source"]["last_report_at"] is None
    assert document["age_seconds"] is None
    assert document["reading"] == {}


def test_report_without_published_series_is_fresh(clock: ManualClock) -> None:
    """The source is not taken for silent."""
    api = Api(clock, prometheus__preset="none", prometheus__include=["execution_status_total"])
    api.feed(report())
    document = api.document()
    assert document["source"]["state"] == "ok"
    assert document["source"]["is_fresh"]
    assert document["problems"] == []


def test_unchanged_document_is_not_sent_again(api: Api) -> None:
    api.feed()
    first = api.get()
    tag = first.headers["ETag"]
    api.clock.now += 5
    same = api.get(etag=f'"other", {tag}')
    assert (same.status, same.body, same.headers["ETag"]) == (304, b"", tag)
    api.feed()
    after = api.get(etag=tag)
    assert after.status == 200
    assert after.headers["ETag"] != tag


def test_document_is_cached(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[object] = []
    real = snapshot_api.build_reading
    monkeypatch.setattr(
        snapshot_api, "build_reading", lambda *args: built.append(args) or real(*args)
    )
    api.feed()
    bodies = {id(api.get().body) for _ in range(50)}
    assert (len(built), len(bodies)) == (1, 1)
    api.clock.now += 1
    assert api.document()["age_seconds"] == 1.0
    assert len(built) == 1
    api.feed()
    api.get()
    assert len(built) == 2


def test_no_document_without_requests(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_api, "build_reading", lambda *_: pytest.fail("no request"))
    for _ in range(3):
        api.feed()


def test_stale_reading_is_omitted(api: Api) -> None:
    api.feed()
    tag = api.get().headers["ETag"]
    api.clock.now += 16
    response = api.get(etag=tag)
    assert response.status == 200
    document = api.document()
    assert document["reading"] == {}
    assert document["source"]["is_fresh"] is False
    assert document["age_seconds"] == 16.0


def test_rate_of_last_two_reports(api: Api) -> None:
    api.feed()
    api.clock.now += 5
    api.feed()
    assert api.document()["reading"]["executions"]["completed_per_second"] == 2.0


def test_reason_of_source_state(api: Api) -> None:
    api.document()
    api.pipeline.processor.on_state(SourceState.EXITED, "last stderr line: no")
    api.clock.now += 1
    source = api.document()["source"]
    assert (source["state"], source["reason"]) == ("exited", "last stderr line: no")


def test_problems(api: Api) -> None:
    api.feed(report(runtime(7, "a", execution_stats=executions(100))))
    api.clock.now += 5
    api.feed(report(runtime(7, "a", execution_stats=executions(50, timed_out=50))))
    missing, failing = api.document()["problems"]  # the report has 2 devices of 16
    assert (missing["reason"], missing["since"]) == ("device_missing", api.clock.time() - 5)
    assert (failing["reason"], failing["since"]) == ("failing", api.clock.time())
    api.clock.now += 16
    (problem,) = api.document()["problems"]
    assert (problem["reason"], problem["since"]) == ("source_down", api.clock.time() - 16)


def test_missing_groups(clock: ManualClock) -> None:
    api = Api(clock, prometheus__preset="minimal", prometheus__exclude=["system_*"])
    failing = runtime(7, "a", neuroncore_counters={**cores(), "error": "no counters"})
    api.feed(report(failing))
    missing = {each.pop("group"): each for each in api.document()["missing"]}
    assert missing["neuroncore_counters"] == {"reason": "no counters", "is_failing": True}
    reason = "no sink publishes it, so it is not requested"
    assert missing["memory_info"] == {"reason": reason, "is_failing": False}


def test_sinks(api: Api) -> None:
    cloudwatch = api.document()["sinks"]["cloudwatch"]
    assert cloudwatch["is_on"] is True
    assert cloudwatch["state"] == "waiting for its first window"
    assert "NeuronCoreUtilization" in cloudwatch["names"]
    assert (cloudwatch["budget_metrics"], cloudwatch["monthly_usd"]) == (100, 0.0)
    off = Api(api.clock).document()["sinks"]
    assert off["cloudwatch"] == {"is_on": False}
    assert off["prometheus"]["is_on"] is True


@pytest.fixture
def logged_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a warning and an info event to an empty log."""
    monkeypatch.setattr(log, "_kept", type(log._kept)(maxlen=log.KEPT_EVENTS))
    log.configure("info", "json")
    where = "at\x1b[2J the <b>top</b>"
    log.get_logger(part="x").warning("it_hurts", where=where, missing=("a", "b"))
    log.get_logger().info("nothing_special")


@pytest.mark.usefixtures("logged_events")
def test_log_lines_require_authentication(api: Api) -> None:
    authenticated, anonymous = api.document(is_authenticated=True), api.document()
    (line,) = authenticated["log"]["lines"]
    assert (line["event"], line["level"]) == ("it_hurts", "warning")
    where = "at\x1b[2J the <b>top</b>"
    assert line["fields"] == {"part": "x", "where": where, "missing": "a, b"}
    assert anonymous["log"]["lines"] is None
    assert "basic_auth_users" in anonymous["log"]["reason"]
    tag = api.get(is_authenticated=True).headers["ETag"]
    assert api.get(etag=tag).status == 200


def test_kept_log_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_kept", type(log._kept)(maxlen=log.KEPT_EVENTS))
    log.configure("info", "json")
    for number in range(2 * log.KEPT_EVENTS):
        log.get_logger().error("long", number=number, text="x" * 10_000)
    lines = log.recent_events()
    assert len(lines) == log.KEPT_EVENTS
    assert lines[-1]["fields"]["number"] == str(2 * log.KEPT_EVENTS - 1)
    assert len(lines[-1]["fields"]["text"]) == log.MAX_FIELD_LENGTH


@pytest.mark.parametrize("page", [True, False])
def test_page_off(clock: ManualClock, page: bool) -> None:
    paths = set(Api(clock, web__page=page).routes)
    basic = {"/metrics", "/healthz", "/readyz", "/-/healthy", "/-/ready"}
    assert basic <= paths
    with_page = {"/", SNAPSHOT, "/debug/threads", "/debug/report", "/page/main.js"}
    assert (paths > with_page) is page
    assert (paths == basic) is not page


def test_page_files_are_package_data() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["neuron_exporter"]
    packed = {path for pattern in patterns for path in (PACKAGE).glob(pattern)}
    folder = PACKAGE / "web" / "page"
    there = {path for path in folder.iterdir() if path.is_file() and path.suffix != ".py"}
    assert there
    assert there <= packed
    assert len(page_routes()) == len(there)
