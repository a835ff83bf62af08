"""The list of commands and their modules."""

from __future__ import annotations

import pytest

from neuron_exporter.cli.registry import COMMANDS, load_command, make_parser, make_program_parser

OWN_PARSER = {"simulate"}


@pytest.mark.parametrize("name", [each for each in COMMANDS if each not in OWN_PARSER])
def test_command(name: str) -> None:
    assert callable(load_command(name).run)
    parser = make_parser(name)
    assert parser.prog == f"neuron-exporter {name}"
    assert all(action.help for action in parser._actions)
    assert parser.description


def test_program_help_names_every_command() -> None:
    text = make_program_parser().format_help()
    assert all(f"\n    {name}" in text for name in COMMANDS)
