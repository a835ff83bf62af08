"""Every query of README's cookbook answers its question, asked of a real Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import readme
from tests.support.exporter import running_exporter, simulated
from tests.support.servers import Prometheus, prometheus_server
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("needs_prometheus")

NOTHING_WRONG = (
    "Which machines have been idle",
    "Who holds cores that do nothing",
    "Whom do I look at first",
)
"""Questions to which no answer is the good answer."""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped a simulated machine for some seconds."""
    folder = tmp_path_factory.mktemp("cookbook")
    source = simulated("--scenario", "mixed", "--instance-type", "inf2.24xlarge")
    with (
        running_exporter(folder, {"source": source}) as exporter,
        prometheus_server(folder, exporter.url.removeprefix("http://"), interval="500ms") as server,
    ):
        completed = 'neuron_executions_total{status_type="completed"}'
        wait_for(lambda: (server.value(f"max(count_over_time({completed}[5m]))") or 0) > 5, 30)
        wait_for(lambda: server.value(f"sum(rate({completed}[5m]))"), 30)
        yield server


def test_there_are_ten_questions() -> None:
    """The cookbook has the ten questions that it promises, each with a query."""
    questions = readme.queries()
    assert len(questions) == 10
    assert all(question.endswith("?") and query for question, query in questions)


@pytest.mark.parametrize(("question", "query"), readme.queries(), ids=lambda text: text[:30])
def test_the_query_answers(prometheus: Prometheus, question: str, query: str) -> None:
    """The query is legal, and has an answer wherever the machine gives one."""
    if question.startswith(NOTHING_WRONG):
        assert prometheus.query(query) == []
        # The same question has an answer where it is turned round.
        assert prometheus.query(query.replace("== 0", ">= 0").replace('!="ok"', '="ok"'))
    else:
        assert wait_for(lambda: prometheus.query(query))
