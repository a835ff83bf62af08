"""Every query of docs/prometheus.md works on a real Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.documents import queries
from tests.support.exporter import running_exporter, simulated
from tests.support.servers import Prometheus, prometheus_server
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("needs_prometheus")

EMPTY = (
    "Which machines have been idle",
    "Which runtimes occupy",
    "Which machines have a problem",
)
"""Questions whose answer is empty while nothing is wrong."""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Return a Prometheus that has scraped a simulated machine."""
    folder = tmp_path_factory.mktemp("queries")
    source = simulated("--scenario", "mixed", "--instance-type", "inf2.24xlarge")
    with (
        running_exporter(folder, {"source": source}) as exporter,
        prometheus_server(folder, exporter.url.removeprefix("http://"), interval="500ms") as server,
    ):
        completed = 'neuron_executions_total{status_type="completed"}'
        wait_for(lambda: (server.value(f"max(count_over_time({completed}[5m]))") or 0) > 5)
        wait_for(lambda: server.value(f"sum(rate({completed}[5m]))"))
        yield server


def test_there_are_ten_questions() -> None:
    assert len(queries()) == 10
    assert all(question.endswith("?") and query for question, query in queries())


@pytest.mark.parametrize(("question", "query"), queries(), ids=lambda text: text[:30])
def test_the_query_answers(prometheus: Prometheus, question: str, query: str) -> None:
    if question.startswith(EMPTY):
        assert prometheus.query(query) == []
        # The opposite condition returns series, so the query reads metrics that exist.
        assert prometheus.query(query.replace("== 0", ">= 0").replace('!="ok"', '="ok"'))
    else:
        assert wait_for(lambda: prometheus.query(query))
