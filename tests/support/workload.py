"""Runtimes that come and go on a recorded machine, and what they really did.

Every report is as large as the recorded one and has other values; reports are put together from
text that is prepared once, so that making them costs less than reading them.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from typing import Any

from tests.benchmarks.__main__ import moved

TAGS = 48
"""Different tags, for 32 runtimes: some tags are shared, some are nobody's for a while."""

LIFE = 60
"""Reports that a runtime lives on average."""

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
_MARKS = range(222_222_220, 222_222_220 + len(_STATUSES) + len(_ERRORS))


class Truth:
    """All that was reported so far, to the unit."""

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
    """Makes reports out of a recorded one, and keeps the truth about them."""

    def __init__(self, recorded: bytes, seed: int = 1) -> None:
        self.truth = Truth()
        self._rng = random.Random(seed)
        self._pids = count(1000)
        documents = [json.loads(line) for line in islice(moved(recorded), _VARIANTS)]
        runtimes = zip(*(document["neuron_runtime_data"] for document in documents), strict=True)
        self._slots = [[_prepared(entry) for entry in entries] for entries in runtimes]
        self._rest = {
            key: value for key, value in documents[0].items() if key != "neuron_runtime_data"
        }
        self._devices = self._rest["system_data"]["neuron_hw_counters"]["neuron_devices"]
        self._living = [self._born() for _ in self._slots]

    def lines(self) -> Iterator[bytes]:
        """Reports, without end."""
        while True:
            entries = [self._entry(at) for at in self._order()]
            self._wear()
            rest = json.dumps(self._rest, separators=(",", ":")).encode()
            line = b'{"neuron_runtime_data":[%s],%s\n' % (b",".join(entries), rest[1:])
            self.truth.reports += 1
            self.truth.bytes += len(line)
            yield line

    def _born(self) -> tuple[int, str]:
        self.truth.runtimes += 1
        return next(self._pids), f"app-{self._rng.randrange(TAGS)}"

    def _order(self) -> list[int]:
        """The slots whose runtimes are there; one that ended is followed by another process in this
        report, or in the next."""
        present = []
        for at in range(len(self._slots)):
            if self._rng.random() < 1 / LIFE:
                self._living[at] = self._born()
                if self._rng.random() < 0.5:
                    continue
            present.append(at)
        return present

    def _entry(self, at: int) -> bytes:
        pid, tag = self._living[at]
        rng, truth = self._rng, self.truth
        completed, rare = rng.randrange(1000), rng.random() < 0.02
        statuses = (completed, 3 * rare, rng.randrange(3) * rare)
        errors = (rng.randrange(2) * rare, rng.randrange(5) * rare)
        for name, number in zip(_STATUSES, statuses, strict=True):
            truth.statuses[name] += number
            truth.statuses_by_tag[tag, name] += number
        for name, number in zip(_ERRORS, errors, strict=True):
            truth.errors[name] += number
        return rng.choice(self._slots[at]) % (pid, tag.encode(), *statuses, *errors)

    def _wear(self) -> None:
        """Let a device have an error at times."""
        if self._rng.random() < 0.05:
            event = self._rng.choice(ECC_EVENTS)
            self._rng.choice(self._devices)[event] += 1
            self.truth.uncorrected += event.endswith("_uncorrected")
        self.truth.ecc = Counter(
            {event: sum(device[event] for device in self._devices) for event in ECC_EVENTS}
        )


def _prepared(entry: dict[str, Any]) -> bytes:
    """A runtime's entry as a format of its pid, tag, statuses and errors, in this order."""
    stats = entry["report"]["execution_stats"]
    summary, errors = stats.pop("execution_summary"), stats.pop("error_summary")
    marks = iter(_MARKS)
    summary |= {name: next(marks) for name in _STATUSES}
    errors |= {name: next(marks) for name in _ERRORS}
    # First what is filled in, since a format is filled from left to right.
    made = {
        **{"pid": _PID, "neuron_runtime_tag": _TAG, "error": entry["error"]},
        "report": {
            **{"execution_stats": {"execution_summary": summary, "error_summary": errors, **stats}},
            **{key: value for key, value in entry["report"].items() if key != "execution_stats"},
        },
    }
    text = json.dumps(made, separators=(",", ":")).encode().replace(b"%", b"%%")
    for mark, place in ((str(_PID), b"%d"), (_TAG, b"%s"), *((str(m), b"%d") for m in _MARKS)):
        assert text.count(mark.encode()) == 1
        text = text.replace(mark.encode(), place)
    return text
