"""Command lines in the documents exist: commands and flags of the exporter, targets of make."""

from __future__ import annotations

import re

import pytest

from neuron_exporter import __version__
from neuron_exporter.cli.registry import make_parser
from neuron_exporter.simulator.options import parse as simulate_options
from tests.support.documents import (
    DOCUMENTS,
    calls,
    commands,
    prose,
    public,
    quoted,
    table,
    text,
)
from tests.support.paths import ROOT

REPLACED_FLAGS = {"--cert-file", "--key-file", "--enable-k8s-info"}
"""Flags of AWS's scripts that `run` rejects with a message."""


def flags() -> dict[str, set[str]]:
    """Return the flags of each command."""
    found: dict[str, set[str]] = {"": set()}
    for line in public("command_line"):
        words = line.partition(": ")[0].split()[1:]
        command = words.pop(0) if words and words[0][0].isalpha() else ""
        found.setdefault(command, set()).update(word for word in words if word[0] == "-")
    return found


FLAGS = flags()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_and_flags_exist(document: str) -> None:
    for words in calls(document, "neuron-exporter"):
        if not words or words[0] == "COMMAND":
            continue
        command = "" if words[0].startswith("-") else words[0]
        assert command in FLAGS, words
        for word in words:
            if word.startswith("-"):
                assert word.partition("=")[0] in FLAGS[command], words


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_parse(document: str) -> None:
    """Each command line in a console block is valid, its values included."""
    for name, *words in calls(document, "neuron-exporter", inline=False):
        if name == "simulate":
            simulate_options(words)
        else:
            make_parser(name).parse_args(words)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_flags_of_the_image_exist(document: str) -> None:
    """Arguments after the image's name are flags of `run`."""
    for command in commands(document):
        if command.startswith("docker run"):
            for flag in re.findall(r" --\S+", command.partition(" neuron-exporter ")[2]):
                assert flag.strip() in FLAGS["run"], command


def test_every_command_is_explained() -> None:
    """The table of README has exactly the commands of the program."""
    named = [row[0].strip("`").split()[0] for row in table("README.md", "| command |")]
    assert sorted(named) == sorted(set(FLAGS) - {""})


def test_flags_in_the_table_of_commands_exist() -> None:
    for first, explanation in table("README.md", "| command |"):
        command, *words = first.strip("`").split()
        shown = [word for word in words if word.startswith("--")]
        shown += re.findall(r"`(--[\w-]+)", explanation)
        assert set(shown) <= FLAGS[command], command


@pytest.mark.parametrize(
    ("document", "heading", "command"),
    [
        ("docs/cost.md", "| flag | effect |", "cost"),
        ("docs/simulator.md", "| flag | effect |", "simulate"),
        ("docs/configuration.md", "| flag | key |", "run"),
        ("docs/install.md", "| flag | effect |", "run"),
    ],
)
def test_tables_of_flags_exist(document: str, heading: str, command: str) -> None:
    named = {flag for row in table(document, heading) for flag in re.findall(r"--[\w.-]+", row[0])}
    assert named
    assert named <= FLAGS[command]


def test_flags_of_awss_scripts_are_explained() -> None:
    """The table has every flag of `run` that only AWS's scripts have, and the rejected ones."""
    rows = table("docs/install.md", "| flag | effect |")
    named = {flag for row in rows for flag in re.findall(r"--[\w.-]+", row[0])}
    own = {"--config", "--source", "--listen", "--version", "--help", "-h"}
    own |= {flag for flag in FLAGS["run"] if "." in flag}  # those of Prometheus' exporters
    assert named == FLAGS["run"] - own
    rejected = {
        flag
        for row in rows
        if row[1].startswith("rejected")
        for flag in re.findall(r"--[\w.-]+", row[0])
    }
    assert rejected == REPLACED_FLAGS


@pytest.mark.parametrize("document", DOCUMENTS)
def test_targets_of_make_exist(document: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    shown = [*commands(document), *quoted(document)]
    for command in shown:
        if found := re.fullmatch(r"make ([a-z][\w-]*)\b.*", command):
            assert found[1] in targets, command


def test_every_target_is_explained() -> None:
    """CONTRIBUTING names every target that `make help` lists."""
    makefile = (ROOT / "Makefile").read_text()
    listed = set(re.findall(r'@echo "make ([\w-]+)', makefile))
    assert listed
    named = set(re.findall(r"make ([\w-]+)", text("CONTRIBUTING.md")))
    assert listed <= named


@pytest.mark.parametrize("document", DOCUMENTS)
def test_versions_of_the_image(document: str) -> None:
    """Tags of the exporter's image are this version."""
    found = set(re.findall(r"REGISTRY/neuron-exporter:(\S+?)[`\s]", text(document)))
    assert found <= {__version__, f"{__version__}-toolless"}


def test_inline_code_is_closed() -> None:
    """An odd number of backticks in a paragraph breaks the page and hides code from these tests."""
    for document in DOCUMENTS:
        for paragraph in prose(document).split("\n\n"):
            assert paragraph.count("`") % 2 == 0, f"{document}: {paragraph}"
