"""Examples of configurations are valid, and every key is documented."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_exporter.config import load
from neuron_exporter.config.schema import Config
from neuron_exporter.model import Group
from neuron_exporter.source.neuron_monitor import configuration
from neuron_exporter.web.config_schema import validate
from tests.support.commands import run
from tests.support.documents import DOCUMENTS, block, blocks, prose, public, quoted, table, text
from tests.support.paths import ROOT

SECTIONS = set(Config.model_fields)
KEYS = {
    line.split()[0]: "(reload)" in line
    for line in public("configuration")
    if not line.startswith("web configuration")
}
"""Each key, and whether it changes without a restart."""

OF_TESTS = {"NEURON_EXPORTER_TEST_KUBECONFIG", "NEURON_EXPORTER_CAPTURES"}

YAML = [
    pytest.param(document, text, id=f"{document}-{number}")
    for document in DOCUMENTS
    for number, text in enumerate(blocks(document, "yaml"))
]


def test_configuration_of_a_piped_neuron_monitor() -> None:
    """The example is what the exporter requests for all its metrics."""
    document = json.loads(block("docs/install.md", "json", "neuron_runtimes"))
    assert document == configuration(Group, 5.0)


def kind(content: Any) -> str:
    """Return the program that reads an example."""
    if isinstance(content, list):
        return "script"
    keys = set(content or {})
    if keys <= SECTIONS:
        return "exporter"
    for key, program in (
        ("tls_server_config", "web"),
        ("apiVersion", "kubernetes"),
        ("scrape_configs", "prometheus"),
        ("rule_files", "prometheus"),
        ("extensions", "collector"),
        ("image", "chart"),
    ):
        if key in keys:
            return program
    raise AssertionError(f"unknown example with {sorted(keys)}")


@pytest.mark.parametrize(("document", "example"), YAML)
def test_examples_are_valid(document: str, example: str, tmp_path: Path) -> None:
    content = yaml.safe_load(example)
    match kind(content):
        case "exporter":
            path = tmp_path / "exporter.yaml"
            path.write_text(example)
            load(str(path))
        case "web":
            config, problems = validate(content)
            assert config is not None
            assert not problems
        case _:  # scripts, Kubernetes objects, the chart and Prometheus have tests of their own
            pass


def test_example_of_check(tmp_path: Path) -> None:
    example = block("docs/configuration.md", "yaml", "max_metrics: 3")
    path = tmp_path / "exporter.yaml"
    path.write_text(example)
    printed = run("check", "--config", str(path)).out.replace(str(path), path.name)
    assert printed == block("docs/configuration.md", "text", "valid, with")


@pytest.mark.usefixtures("needs_prometheus")
@pytest.mark.parametrize(("document", "example"), YAML)
def test_scrape_configurations_are_valid(document: str, example: str, tmp_path: Path) -> None:
    if kind(yaml.safe_load(example)) != "prometheus":
        return
    if "role: ecs" in example:
        pytest.skip("needs Prometheus 3.8")
    path = tmp_path / "prometheus.yml"
    path.write_text(example)
    done = subprocess.run(
        ["promtool", "check", "config", "--syntax-only", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("document", DOCUMENTS)
def test_json_examples_are_json(document: str) -> None:
    for example in blocks(document, "json"):
        json.loads(example)


def test_the_file_with_all_keys_changes_nothing(tmp_path: Path) -> None:
    """The file of docs/configuration.md has every key, each with its default."""
    example = block("docs/configuration.md", "yaml", "source:")
    path = tmp_path / "all.yaml"
    path.write_text(example)
    assert load(str(path)).config == Config()

    def keys(value: object, at: str = "") -> set[str]:
        below = value.items() if isinstance(value, dict) else ()
        return {at} | {key for name, inner in below for key in keys(inner, f"{at}.{name}")}

    assert keys(yaml.safe_load(example)) == keys(Config().model_dump())


def test_the_table_of_keys_is_complete() -> None:
    """The table has every key, and says which ones change without a restart."""
    rows = table("docs/configuration.md", "| reloadable |")
    assert {row[0].strip("`"): row[3] == "yes" for row in rows} == KEYS


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_keys_exist(document: str) -> None:
    """Dotted keys in inline code are keys or sections of the configuration."""
    known = {key.rsplit(".", n)[0] for key in KEYS for n in range(key.count(".") + 1)}
    for code in quoted(document):
        found = re.fullmatch(r"([a-z_]+)((?:\.[a-z_]+)+)(?:[:=].*|)", code)
        if found and found[1] in SECTIONS and not code.endswith((".py", ".md")):
            assert found[1] + found[2] in known, code


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_variables_exist(document: str) -> None:
    """Variables of the exporter are read by it or by its image."""
    image = "".join(path.read_text() for path in (ROOT / "docker" / "exporter").glob("*.*"))
    known = set(public("environment"))
    for name in re.findall(r"\bNEURON_EXPORTER_[A-Z_]+[A-Z]\b", prose(document)):
        assert name in known or name in image or name in OF_TESTS, name


def test_variables_have_a_table() -> None:
    """Every variable that is not a key stands in docs/configuration.md or under identity."""
    rows = [row[0] for row in table("docs/configuration.md", "| variable | effect |")]
    named = {name for cell in rows for name in re.findall(r"`([A-Z_0-9]+)`", cell)}
    named |= set(re.findall(r"`([A-Z_0-9]+)`", text("docs/identity-and-owners.md")))
    own = {
        name for name in public("environment") if re.fullmatch(r"NEURON_EXPORTER_[A-Z]\w+", name)
    }
    assert own <= named


def test_the_web_configuration_requires_passwords() -> None:
    config, _ = validate(yaml.safe_load(block("docs/security.md", "yaml", "tls_server_config:")))
    assert config is not None
    assert list(config.basic_auth_users) == ["prometheus"]
