"""The outcome of the acceptance: as text, as JSON, and as a row for the table of machines."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from neuron_exporter import __version__
from neuron_exporter.doctor.acceptance.assumptions import judge_all
from neuron_exporter.doctor.acceptance.evidence import Evidence
from neuron_exporter.doctor.acceptance.judgement import Assumption, Judgement, Result
from neuron_exporter.doctor.finding import format_count, format_numbers

VERSION = 1
"""Version of the JSON document."""

ROW_HEADER = (
    "type",
    "driver",
    "tools",
    "devices x logical cores (LNC)",
    "exporter, date",
    "confirmed",
    "did not hold",
)
"""Columns of the table of machines in `docs/verification.md`."""

SIMULATED = "simulated: confirms nothing"
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Evidence and judgements of one run. `end` says why it ended."""

    evidence: Evidence
    judgements: Sequence[tuple[Assumption, Judgement]]
    seconds: float
    end: str
    recording: str

    @classmethod
    def of(cls, evidence: Evidence, seconds: float, end: str, recording: str) -> Outcome:
        """Judge all assumptions."""
        return cls(evidence, tuple(judge_all(evidence)), seconds, end, recording)

    def names(self, result: Result) -> list[str]:
        """Return the assumptions with this result."""
        return [each.name for each, judgement in self.judgements if judgement.result is result]

    @property
    def _size(self) -> str:
        """Devices, their logical cores and LNC, as the reports have them."""
        seen = self.evidence.hardware
        count, cores = seen.hardware.neuron_device_count, seen.cores_per_device
        return f"{count or '?'} x {cores or '?'} (LNC {seen.logical_core_size})"

    @property
    def _versions(self) -> tuple[str, ...]:
        """Instance type, and versions of the driver and the tools."""
        evidence = self.evidence
        versions = evidence.instance_type, evidence.driver, evidence.tools
        return tuple(each or _UNKNOWN for each in versions)

    @property
    def row(self) -> str:
        """The row of the machine, without anything that identifies it."""
        evidence = self.evidence
        confirmed = f"{len(self.names(Result.HELD))} of {len(self.judgements)}"
        if evidence.is_replayed:
            confirmed += ", by a recording"
        cells = (
            *self._versions,
            self._size,
            f"{__version__}, {time.strftime('%Y-%m-%d', time.gmtime())}",
            SIMULATED if evidence.is_simulated else confirmed,
            ", ".join(self.names(Result.CONTRADICTED)) or "none",
        )
        return as_row(cells)

    def as_text(self) -> str:
        """Return the text, which ends with the row."""
        evidence = self.evidence
        parts = [
            "\n".join(f"{name:<12}{value}" for name, value in self._head().items()),
            "\n".join(_lines(*each) for each in self.judgements),
        ]
        if evidence.stream.error_texts:
            texts = (f"{n:>8,} {text}" for text, n in evidence.stream.error_texts.most_common())
            parts.append("\n".join(["error texts of neuron-monitor (numbers are N):", *texts]))
        counts = Counter(judgement.result for _, judgement in self.judgements)
        parts.append(", ".join(f"{counts[result]} {result}" for result in Result))
        rule = "|---" * len(ROW_HEADER) + "|"
        parts.append("\n".join([as_row(ROW_HEADER), rule, self.row]))
        return "\n\n".join(parts)

    def _head(self) -> dict[str, str]:
        evidence = self.evidence
        reports = format_count(evidence.stream.reports, "report")
        head = {
            **dict(zip(("machine", "driver", "tools"), self._versions, strict=True)),
            "devices": f"{self._size}; in /dev {format_numbers(evidence.present)}",
            "cores": f"version {evidence.core_version or _UNKNOWN}",
            "reports": f"{reports} in {self.seconds:.0f} s from {evidence.source}; {self.end}",
            "recording": self.recording or "none",
        }
        if evidence.is_simulated:
            head["note"] = SIMULATED
        return head

    def as_json(self) -> str:
        """Return the JSON document."""
        evidence = self.evidence
        hardware, layout = evidence.hardware, evidence.sysfs_before.layout
        document: dict[str, Any] = {
            "version": VERSION,
            "exporter": __version__,
            "machine": {
                "instance_type": evidence.instance_type,
                "driver": evidence.driver,
                "tools": evidence.tools,
                "neuroncore_version": evidence.core_version,
                "device_files": sorted(evidence.present),
                "devices": sorted(hardware.devices),
                "cores_per_device": hardware.cores_per_device or None,
                "logical_core_size": hardware.hardware.logical_neuroncore_config,
            },
            "source": evidence.source,
            "is_simulated": evidence.is_simulated,
            "is_replayed": evidence.is_replayed,
            "seconds": round(self.seconds, 3),
            "reports": evidence.stream.reports,
            "end": self.end,
            "assumptions": [
                {
                    "name": assumption.name,
                    "assumption": assumption.sentence,
                    "used_by": assumption.used_by,
                    "result": judgement.result,
                    "evidence": judgement.evidence,
                }
                for assumption, judgement in self.judgements
            ],
            "errors": [
                {"text": text, "count": count}
                for text, count in evidence.stream.error_texts.most_common()
            ],
            "not_understood": {
                "fields": evidence.stream.unknown_fields,
                "neuron_ls": list(evidence.neuron_ls.unknown),
            },
            "sysfs": {
                "known": len(layout.known),
                "moved": list(layout.moved),
                "unknown": list(layout.unknown),
            },
            "recording": self.recording or None,
            "row": self.row,
        }
        return json.dumps(document, indent=2)


def as_row(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def _lines(assumption: Assumption, judgement: Judgement) -> str:
    head = f"{judgement.result:<13} {assumption.name:<18} {assumption.sentence}"
    return f"{head}\n{'':<13} {'':<18} -> {judgement.evidence}"
