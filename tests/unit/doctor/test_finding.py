"""Findings as lines, as JSON, and without credentials."""

from __future__ import annotations

import json

from neuron_exporter.doctor.finding import (
    Finding,
    Subject,
    Verdict,
    as_json,
    as_line,
    as_summary,
    redact,
)
from neuron_exporter.text import MAX_MESSAGE_LENGTH

FINDINGS = [
    Subject("driver").ok("version 2.24.7.0 is loaded"),
    Subject("spool").warning("3 requests queued", "start the exporter"),
    Subject("devices").failed("none\x1b[2J\nat all", "map the devices"),
]


def test_as_line() -> None:
    """A finding is one line without control characters, and its fix the next."""
    assert as_line(FINDINGS[0]) == "ok       driver         version 2.24.7.0 is loaded"
    first, second = as_line(redact(FINDINGS[2])).splitlines()
    assert first == "failed   devices        none\ufffd[2J\ufffdat all"
    assert second.strip() == "-> map the devices"


def test_summary_counts_every_verdict() -> None:
    assert as_summary(FINDINGS) == "1 ok, 1 warning, 1 failed, 0 skipped"


def test_json_has_all_fields() -> None:
    decoded = json.loads(as_json(FINDINGS))
    findings = [Finding(**{**each, "verdict": Verdict(each["verdict"])}) for each in decoded]
    assert findings == FINDINGS


def test_redact_removes_credentials_of_urls() -> None:
    finding = redact(Subject("x").failed("http://me:geheim@proxy:1/ fails", "try http://a@b/"))
    assert finding == Subject("x").failed("http://***@proxy:1/ fails", "try http://***@b/")


def test_redacted_texts_are_short() -> None:
    finding = redact(Subject("x").failed("y" * 2**20, "z" * 2**20))
    assert max(map(len, finding)) == MAX_MESSAGE_LENGTH
