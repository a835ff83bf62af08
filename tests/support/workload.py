"""Runtimes that start and end on a recorded machine, with exact totals of what they reported.

Every report has the size of the recorded one but other values. Reports are assembled from prepared
text, so that generating them is cheaper than reading them.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from typing import Any

from tests.benchmarks.reports import moving

TAGS = 48
"""Number of tags for 32 runtimes: some are shared, some are unused for a while."""

MEAN_LIFETIME = 60
"""Mean lifetime of a runtime, in reports."""

ECC_EVENTS = (
    "mem_ecc_corrected",
    "mem_ecc_uncorrected",
    "sram_ecc_corrected",
    "sram_ecc_uncorrected",
)

_VARIANTS = 4
_PID, _TAG = 111_111_111, "the-tag"
_STATUSES = ("completed", "completed_with_err", "timed_out")
_ERRORS = ("numerical", "hardware")
_PLACEHOLDERS = range(222_222_220, 222_222_220 + len(_STATUSES) + len(_ERRORS))


class ExpectedTotals:
    """Exact totals of everything reported so far."""

    def __init__(self) -> None:
        self.reports = 0
        self.bytes = 0
        self.runtimes = 0
        self.statuses: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.statuses_by_tag: Counter[tuple[str, str]] = Counter()
        self.ecc: Counter[str] = Counter()
        self.uncorrected = 0


class Workload:
    """Generator of reports from a recorded one."""

    def __init__(self, recorded: bytes, seed: int = 1) -> None:
        self.expected_totals = ExpectedTotals()
        self._rng = random.Random(seed)
        self._pids = count(1000)
        documents = [json.loads(line) for line in islice(moving(recorded), _VARIANTS)]
        runtimes = zip(*(document["neuron_runtime_data"] for document in documents), strict=True)
        self._slots = [[_template(entry) for entry in entries] for entries in runtimes]
        self._rest = {
            key: value for key, value in documents[0].items() if key != "neuron_runtime_data"
        }
        self._devices = self._rest["system_data"]["neuron_hw_counters"]["neuron_devices"]
        self._runtimes = [self._new_runtime() for _ in self._slots]

    def lines(self) -> Iterator[bytes]:
        """Yield reports endlessly."""
        while True:
            entries = [self._entry(at) for at in self._present_slots()]
            self._add_ecc_events()
            rest = json.dumps(self._rest, separators=(",", ":")).encode()
            line = b'{"neuron_runtime_data":[%s],%s\n' % (b",".join(entries), rest[1:])
            self.expected_totals.reports += 1
            self.expected_totals.bytes += len(line)
            yield line

    def _new_runtime(self) -> tuple[int, str]:
        self.expected_totals.runtimes += 1
        return next(self._pids), f"app-{self._rng.randrange(TAGS)}"

    def _present_slots(self) -> list[int]:
        """Return the slots with a runtime in this report.

        A runtime that ended is replaced by another process in this report or the next.
        """
        present = []
        for at in range(len(self._slots)):
            if self._rng.random() < 1 / MEAN_LIFETIME:
                self._runtimes[at] = self._new_runtime()
                if self._rng.random() < 0.5:
                    continue
            present.append(at)
        return present

    def _entry(self, at: int) -> bytes:
        pid, tag = self._runtimes[at]
        rng, expected_totals = self._rng, self.expected_totals
        completed, rare = rng.randrange(1000), rng.random() < 0.02
        statuses = (completed, 3 * rare, rng.randrange(3) * rare)
        errors = (rng.randrange(2) * rare, rng.randrange(5) * rare)
        for name, number in zip(_STATUSES, statuses, strict=True):
            expected_totals.statuses[name] += number
            expected_totals.statuses_by_tag[tag, name] += number
        for name, number in zip(_ERRORS, errors, strict=True):
            expected_totals.errors[name] += number
        return rng.choice(self._slots[at]) % (pid, tag.encode(), *statuses, *errors)

    def _add_ecc_events(self) -> None:
        """Add an error to a random device now and then."""
        if self._rng.random() < 0.05:
            event = self._rng.choice(ECC_EVENTS)
            self._rng.choice(self._devices)[event] += 1
            self.expected_totals.uncorrected += event.endswith("_uncorrected")
        self.expected_totals.ecc = Counter(
            {event: sum(device[event] for device in self._devices) for event in ECC_EVENTS}
        )


def _template(entry: dict[str, Any]) -> bytes:
    """Return a runtime's entry as a format of its pid, tag, statuses and errors, in this order."""
    stats = entry["report"]["execution_stats"]
    summary, errors = stats.pop("execution_summary"), stats.pop("error_summary")
    placeholders = iter(_PLACEHOLDERS)
    summary |= {name: next(placeholders) for name in _STATUSES}
    errors |= {name: next(placeholders) for name in _ERRORS}
    # Placeholders come first because a format is filled from left to right.
    rearranged = {
        **{"pid": _PID, "neuron_runtime_tag": _TAG, "error": entry["error"]},
        "report": {
            **{"execution_stats": {"execution_summary": summary, "error_summary": errors, **stats}},
            **{key: value for key, value in entry["report"].items() if key != "execution_stats"},
        },
    }
    text = json.dumps(rearranged, separators=(",", ":")).encode().replace(b"%", b"%%")
    formats = [(str(_PID), b"%d"), (_TAG, b"%s"), *((str(each), b"%d") for each in _PLACEHOLDERS)]
    for placeholder, conversion in formats:
        assert text.count(placeholder.encode()) == 1
        text = text.replace(placeholder.encode(), conversion)
    return text
