"""How the sink is: what became of its requests, in metrics, in the log, and for people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from neuron_exporter.facts.prices import METRIC
from neuron_exporter.log import get_logger
from neuron_exporter.sinks.cloudwatch.budget import Spending, Unit
from neuron_exporter.sinks.cloudwatch.transport import Outcome, Verdict
from neuron_exporter.sinks.delivery.spool.spool import Spool
from neuron_exporter.telemetry import Telemetry

NAME = "cloudwatch"

_log = get_logger(sink=NAME)


def _at(stamp: float) -> str:
    return datetime.fromtimestamp(stamp, UTC).isoformat()


class Trouble(NamedTuple):
    """What is wrong: a code to count by, a sentence to read."""

    code: str
    message: str


class Standing:
    """Counts what happens, and judges it a cycle at a time.

    The sink is up after a cycle that delivered something and lost nothing. A request that failed
    and is tried again is trouble only if no other was delivered. Trouble is logged when its kind
    changes, not while it lasts.
    """

    def __init__(self, telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self.state = "waiting for its first window"
        self.spending: dict[str, str] = {}
        self.spooling: dict[str, str] = {}
        self._telemetry = telemetry
        self._clock = clock
        self._said = ""
        self._delivered = False
        self._failed: Trouble | None = None
        self._trouble: Trouble | None = None
        self._over: tuple[frozenset[Unit], bool] = (frozenset(), False)
        self._ambiguous = 0
        telemetry.sink_up.labels(NAME).set(0)

    def count(self, outcome: Outcome) -> None:
        """Count what became of a request that was sent."""
        self._telemetry.sink_requests.labels(NAME, outcome.verdict.value).inc()
        self._telemetry.sink_ambiguous.labels(NAME).inc(outcome.ambiguous)
        match outcome.verdict:
            case Verdict.DELIVERED:
                self._delivered = True
                self._telemetry.sink_last_success.labels(NAME).set(self._clock())
            case Verdict.RETRY:
                self._telemetry.sink_errors.labels(NAME, outcome.code).inc()
                self._failed = self._failed or Trouble(outcome.code, outcome.message)
            case Verdict.NEVER:
                self.drop("rejected")
                self.complain(outcome.code, outcome.message)

    def drop(self, reason: str, number: int = 1) -> None:
        """Count requests as given up."""
        self._telemetry.sink_dropped.labels(NAME, reason).inc(number)

    def complain(self, code: str, message: str) -> None:
        """Count a trouble that nothing makes good."""
        self._telemetry.sink_errors.labels(NAME, code).inc()
        self._trouble = self._trouble or Trouble(code, message)

    def spend(self, spending: Spending) -> None:
        """Show what the budget says of a window, and say it when it drops something else."""
        published = spending.published
        self._telemetry.published_metrics.set(published)
        self._telemetry.wanted_metrics.set(spending.wanted)
        self._telemetry.budget_dropped.set(spending.lost)
        price = METRIC.tiers[0].usd
        self.spending = {"metrics": f"{published}, {published * price:.2f} USD a month at most"}
        if spending.lost:
            self.spending |= {
                "wanted": f"{spending.wanted}, {spending.wanted * price:.2f} USD a month at most; "
                f"the budget is {spending.limit}",
                "dropped": "; ".join(spending.told()) or "until the hour is over",
            }
        over = frozenset(spending.dropped), spending.exceeded
        if over == self._over:
            return
        if any(over):
            _log.warning(
                "over_budget",
                budget=spending.limit,
                wanted=spending.wanted,
                published=published,
                wanted_monthly_usd=round(spending.wanted * price, 2),
                dropped=spending.told(),
            )
        else:
            _log.info("within_budget", budget=spending.limit, wanted=spending.wanted)
        self._over = over

    def spool(self, spool: Spool) -> None:
        """Show how what waits is kept."""
        waits = {} if spool.oldest is None else {"oldest": _at(spool.oldest)}
        self.spooling = {"kept": spool.state, **waits} if len(spool) else {"kept": spool.state}
        self._telemetry.spool_bytes.set(spool.bytes)
        self._telemetry.spool_on_disk.set(spool.state == "disk")
        self._telemetry.spool_oldest.set(spool.oldest or 0.0 if len(spool) else 0.0)
        self._telemetry.sink_ambiguous.labels(NAME).inc(spool.ambiguous - self._ambiguous)
        self._ambiguous = spool.ambiguous

    def settle(self) -> None:
        """Judge what happened since the last time, and say it when it is news."""
        trouble = self._trouble or (None if self._delivered else self._failed)
        if trouble is not None:
            self._telemetry.sink_up.labels(NAME).set(0)
            self.state = f"{trouble.code}: {trouble.message}"
            if trouble.code != self._said:
                _log.error("not_delivering", code=trouble.code, message=trouble.message)
            self._said = trouble.code
        elif self._delivered:
            self._telemetry.sink_up.labels(NAME).set(1)
            self.state = "delivering"
            if self._said:
                self._said = ""
                _log.info("delivering_again")
        self._delivered, self._failed, self._trouble = False, None, None

    def died(self, error: BaseException) -> None:
        """Say that nothing will be sent any more."""
        self._telemetry.sink_up.labels(NAME).set(0)
        self.state = f"its thread died: {error!r}"
        _log.error("thread_died", thread=NAME, error=repr(error))
