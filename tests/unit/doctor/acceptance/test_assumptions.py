"""The table of assumptions, in the code and in the documents."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from neuron_exporter.doctor.acceptance.assumptions import ASSUMPTIONS, judge_all
from neuron_exporter.doctor.acceptance.evidence import Evidence
from neuron_exporter.doctor.acceptance.judgement import Assumption, Judgement, Result
from neuron_exporter.doctor.acceptance.neuron_ls import parse
from neuron_exporter.doctor.acceptance.outcome import ROW_HEADER, Outcome, as_row
from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.report import decode
from tests import captures
from tests.support.device_listing import listing
from tests.support.documents import block, table
from tests.support.evidence import evidence_of
from tests.support.paths import PACKAGE
from tests.support.reports import executions, report, runtime


def test_names_are_unique() -> None:
    names = [each.name for each in ASSUMPTIONS]
    assert len({*names}) == len(names)
    assert all(re.fullmatch("[a-z-]{4,18}", name) for name in names)


@pytest.mark.parametrize("assumption", ASSUMPTIONS, ids=lambda each: each.name)
def test_module_that_uses_it_exists(assumption: Assumption) -> None:
    assert not assumption.used_by or (PACKAGE / assumption.used_by).is_file()


def test_documented_table_is_that_of_the_code() -> None:
    rows = table("docs/verification.md", "| assumption | what the exporter relies on |")
    expected = [
        [f"`{each.name}`", each.sentence, f"`{each.used_by}`" if each.used_by else "none yet"]
        for each in ASSUMPTIONS
    ]
    assert [list(row) for row in rows] == expected


def machines() -> list[list[str]]:
    """Return the rows of the table of machines."""
    return table("docs/verification.md", f"| {' | '.join(ROW_HEADER)} |")


def test_machines_have_the_columns_of_the_printed_row() -> None:
    assert machines()
    names = {each.name for each in ASSUMPTIONS}
    for row in machines():
        assert len(row) == len(ROW_HEADER)
        assert row[0] in INSTANCE_TYPES
        assert row[-1] == "none" or {*row[-1].split(", ")} <= names


@pytest.mark.skipif(not captures.FOLDER.exists(), reason=captures.MISSING)
def test_rows_of_recordings() -> None:
    """Each row by a recording is what the recording shows."""
    shown = []
    for path in captures.all_captures():
        if path.name.startswith("doc_"):  # examples of the documentation
            continue
        evidence = Evidence(max_line=2**24, is_replayed=True, is_local=False)
        for line in captures.lines(path):
            evidence.observe(line, decode(line), 0.0)
        kind, _, _, size, _, *result = cells(Outcome.of(evidence, 1.0, "", "").row)
        shown.append([kind, size, *result])
    rows = [[row[0], row[3], *row[5:]] for row in machines() if "by a recording" in row[5]]
    assert sorted(shown) == sorted(rows)


def test_example_has_lines_that_the_command_prints() -> None:
    """The example shows assumptions with their sentences and one of the results each."""
    sentences = {each.name: each.sentence for each in ASSUMPTIONS}
    lines = block("docs/doctor.md", "text", "did not hold").splitlines()
    heads = [line for line in lines if line[:13].strip() in {*Result}]
    assert {line[:13].strip() for line in heads} == {*Result}
    for line in heads:
        name, sentence = line[14:].split(maxsplit=1)
        assert sentences[name] == sentence
    assert lines[-3:-1] == [as_row(ROW_HEADER), "|---" * len(ROW_HEADER) + "|"]


EMPTY = report(instance_info={"error": ""}, neuron_hardware_info={"error": ""})


@pytest.mark.parametrize("evidence", [Evidence(), evidence_of(EMPTY)], ids=["none", "empty"])
def test_nothing_is_judged_from_nothing(evidence: Evidence) -> None:
    """An empty report contradicts only what a report must have."""
    results = {each.name: judgement.result for each, judgement in judge_all(evidence)}
    contradicted = [name for name, result in results.items() if result is Result.CONTRADICTED]
    assert contradicted == (["groups"] if evidence.stream.reports else [])
    assert all(judgement.evidence for _, judgement in judge_all(evidence))


def test_broken_judge_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Evidence) -> Judgement:
        raise ZeroDivisionError

    table = (ASSUMPTIONS[0]._replace(decide=broken), *ASSUMPTIONS[1:])
    monkeypatch.setattr("neuron_exporter.doctor.acceptance.assumptions.ASSUMPTIONS", table)
    judgements = [judgement for _, judgement in judge_all(Evidence())]
    assert len(judgements) == len(ASSUMPTIONS)
    assert judgements[0] == (
        Result.NOT_SEEN,
        "the check itself failed: ZeroDivisionError; report this bug",
    )


def test_output_has_no_text_of_the_reports() -> None:
    """Names, tags and ids of the reports, of unknown fields and of neuron-ls are not shown."""
    planted = runtime(tag="geheim", execution_stats=executions(1, **{"Geheim 1": 1}))
    document = report(
        planted,
        instance_info={"instance_name": "geheim", "instance_type": "geheim", "error": ""},
        neuron_hardware_info={
            **{"neuron_device_count": 2, "neuroncore_per_device_count": 2, "error": ""},
            **{"neuroncore_version": "geheim", "neuron_device_type": "geheim"},
        },
        **{"i-geheim": {"geheim": 1}},
    )
    document["system_data"]["Geheim"] = "geheim"
    listed = [{**each, "instance_id": "geheim", "i-geheim": 1} for each in listing([0, 1])]
    listed[0]["neuron_processes"][0]["command"] = "geheim"
    evidence = evidence_of(document, neuron_ls=parse(json.dumps(listed).encode()))
    outcome = Outcome.of(evidence, 1.0, "the time is over", "")
    assert "a name of another form" in outcome.as_text()
    assert "geheim" not in (outcome.as_text() + outcome.as_json()).lower()


def cells(row: str) -> list[str]:
    """Return the cells of a printed row."""
    return row.strip("| ").split(" | ")


@pytest.mark.parametrize(
    ("changes", "confirmed"),
    [
        ({}, r"\d+ of \d+"),
        ({"is_replayed": True}, r"\d+ of \d+, by a recording"),
        ({"is_simulated": True}, "simulated: confirms nothing"),
    ],
)
def test_row_names_the_type_and_no_machine(changes: dict[str, bool], confirmed: str) -> None:
    evidence = replace(evidence_of(report(), driver="2.31.7.0", tools="2.33.38.0"), **changes)
    row = Outcome.of(evidence, 900.0, "the time is over", "reports.ndjson.gz").row
    kind, driver, tools, size, _, result, contradicted = cells(row)
    assert (kind, driver, tools, size) == (
        *("trn1.32xlarge", "2.31.7.0", "2.33.38.0"),
        "2 x 2 (LNC 1)",
    )
    assert re.fullmatch(confirmed, result)
    assert contradicted == "groups, instance-type"
    assert "i-0123456789abcdef0" not in row
