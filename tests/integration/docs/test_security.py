"""What docs/security.md says of rights, attacks and pinned parts is true of the files."""

from __future__ import annotations

import re
from configparser import ConfigParser

import yaml

from tests.support.documents import table, tables
from tests.support.paths import ROOT
from tests.support.systemd import UNIT
from tests.support.task_definitions import committed, exporter_of


def test_every_attack_has_a_test() -> None:
    """Each row of the threat model names a test that makes the attack."""
    every = tables("docs/security.md", "shown by")
    assert len(every) == 7
    for attack, _, shown_by in (row for rows in every for row in rows):
        assert re.findall(r"`(test_\w+)`", shown_by), attack


# Rights

Rights = dict[str, str]
"""A column of the table: the cell of each row."""


def rights(user: str, capabilities: str, *, read_only: bool, sees: bool, network: bool) -> Rights:
    """Return the cells of the rows that the files determine."""
    return {
        "user": user,
        "capabilities": capabilities,
        "root file system": "read-only" if read_only else "writable",
        "processes of the host": "visible" if sees else "hidden",
        "network of the host": "yes" if network else "no",
    }


def of_unit() -> Rights:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.read(UNIT)
    unit = parser["Service"]
    return rights(
        unit.get("User", "root"),
        "`{}`".format(unit["CapabilityBoundingSet"].removeprefix("CAP_")),
        read_only=unit["ProtectSystem"] == "strict",
        sees=unit.get("ProtectProc", "default") == "default",
        network="PrivateNetwork" not in unit,
    )


def of_task(name: str) -> Rights:
    definition = committed(name)
    container = exporter_of(definition)
    (added,) = container["linuxParameters"]["capabilities"]["add"]
    assert container["linuxParameters"]["capabilities"]["drop"] == ["ALL"]
    return rights(
        {"0": "root"}[container["user"]],
        f"`{added}`",
        read_only=container["readonlyRootFilesystem"],
        sees=definition.get("pidMode") == "host",
        network=definition["networkMode"] == "host",
    )


def of_daemon_set() -> Rights:
    document = yaml.safe_load((ROOT / "k8s" / "base" / "daemonset.yaml").read_text())
    pod = document["spec"]["template"]["spec"]
    context = pod["containers"][0]["securityContext"]
    return rights(
        {0: "root"}[context["runAsUser"]],
        "all (privileged)" if context["privileged"] else "none",
        read_only=context["readOnlyRootFilesystem"],
        sees=pod["hostPID"],
        network=pod.get("hostNetwork", False),
    )


def test_rights_are_those_of_the_files() -> None:
    rows = table("docs/security.md", "[systemd unit]")
    unit, _, sidecar, daemon, pod = (
        {row[0]: row[column] for row in rows if row[0] in of_unit()} for column in range(1, 6)
    )
    assert unit == of_unit()
    assert sidecar == of_task("trn1-sidecar") == of_task("inf1-sidecar")
    assert daemon == of_task("trn1-daemon") == of_task("inf1-daemon")
    assert pod == of_daemon_set()


# Pinned parts


def test_pinned_parts_of_the_image() -> None:
    text = (ROOT / "docker" / "exporter" / "Dockerfile").read_text()
    arguments = dict(re.findall(r"^ARG (\w+)=(.*)$", text, re.MULTILINE))
    assert re.fullmatch(r"\d+\.\d+\.\d+\.\d+-\w+", arguments["NEURON_TOOLS_VERSION"])
    assert re.fullmatch(r"[0-9A-F]{40}", arguments["NEURON_KEY"])
    assert re.fullmatch(r"\S+/python:\d+\.\d+\.\d+-slim-[a-z]+", arguments["PYTHON_IMAGE"])
    assert "--only-binary :all:" in text


def test_exceptions_of_security_rules_have_reasons() -> None:
    for folder in ("exporter", "docker"):
        for path in (ROOT / folder).rglob("*.py"):
            for line in path.read_text().splitlines():
                if re.search(r"# noqa:.*\bS\d{3}", line):
                    assert re.search(r"# noqa: [A-Z\d, ]+ # \w", line), (path, line)
