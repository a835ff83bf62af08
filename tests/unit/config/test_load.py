"""Loading a configuration: precedence of file, environment and flags, and all errors with their
origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuron_exporter.config import Config, ConfigError, LoadedConfig, Override, load, suggest
from neuron_exporter.validation import MAX_VALUES

PREFIX = "NEURON_EXPORTER__"


class ConfigFile:
    """A configuration file of the test."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "exporter.yaml"

    def load(
        self,
        text: str | bytes | None = None,
        environment: Mapping[str, str] | None = None,
        flags: Sequence[Override] = (),
    ) -> LoadedConfig:
        """Load this file, these variables and these flags."""
        if text is None:
            return load(None, environment, flags)
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(str(self.path), environment, flags)

    def problems(self, *arguments: Any, **more: Any) -> list[str]:
        """Return the errors; the path of the file is replaced by FILE."""
        with pytest.raises(ConfigError) as caught:
            self.load(*arguments, **more)
        assert str(caught.value) == "\n".join(caught.value.problems)
        return [problem.replace(str(self.path), "FILE") for problem in caught.value.problems]


@pytest.fixture
def config(tmp_path: Path) -> ConfigFile:
    """Return a file that does not exist yet."""
    return ConfigFile(tmp_path)


# Valid configurations


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "---\n", "null", "source:\n", "cloudwatch:\n  budget:\n  spool: ~\n", "{}"],
)
def test_empty_file_or_section_has_defaults(config: ConfigFile, text: str) -> None:
    assert config.load(text).config == Config()


def test_precedence(config: ConfigFile) -> None:
    loaded = config.load(
        "log: {level: debug, format: json}\nsource: {period: 9s}\nweb: {page: false}",
        {f"{PREFIX}LOG__LEVEL": "error", f"{PREFIX}SOURCE__PERIOD": "7s"},
        [Override("--period", "source.period", "3s")],
    )
    assert loaded.config.log.level == "error"
    assert loaded.config.log.format == "json"
    assert loaded.config.source.period == 3
    assert loaded.config.web.page is False


@pytest.mark.parametrize(
    ("name", "text", "section", "key", "value"),
    [
        ("PROMETHEUS__LISTEN", "[::]:9415", "prometheus", "listen", ["[::]:9415"]),
        ("PROMETHEUS__LISTEN", "['a:1', ':2']", "prometheus", "listen", ["a:1", ":2"]),
        ("PROMETHEUS__ENABLED", "FALSE", "prometheus", "enabled", False),
        ("IDENTITY__KUBERNETES", "True", "identity", "kubernetes", True),
        ("IDENTITY__KUBERNETES", "auto", "identity", "kubernetes", "auto"),
        ("SOURCE__MAX_LINE", "65536", "source", "max_line", 65536),
        ("SOURCE__MAX_LINE", "1MiB", "source", "max_line", 2**20),
        ("SOURCE__PATH", "null", "source", "path", None),
        ("SOURCE__PATH", "[x].ndjson", "source", "path", "[x].ndjson"),
        ("SOURCE__COMMAND", "[a, '-b']", "source", "command", ["a", "-b"]),
        ("PROMETHEUS__INCLUDE", '[\'a{b="c"}\']', "prometheus", "include", ['a{b="c"}']),
        ("CLOUDWATCH__NAMESPACE", "0123", "cloudwatch", "namespace", "0123"),
        ("CLOUDWATCH__EXTRA_DIMENSIONS__Env", "x", "cloudwatch", "extra_dimensions", {"Env": "x"}),
        ("CLOUDWATCH__EXTRA_DIMENSIONS", "{E: x}", "cloudwatch", "extra_dimensions", {"E": "x"}),
        ("cloudwatch__Region", "eu-west-1", "cloudwatch", "region", "eu-west-1"),
    ],
)  # fmt: skip
def test_variable(
    config: ConfigFile, name: str, text: str, section: str, key: str, value: object
) -> None:
    loaded = config.load(None, {PREFIX + name: text})
    assert getattr(getattr(loaded.config, section), key) == value


@pytest.mark.parametrize("name", ["SERVICE_HOST", "PORT", "PORT_9415_TCP_ADDR", "LOG_LEVEL"])
def test_kubernetes_service_variables_are_ignored(config: ConfigFile, name: str) -> None:
    """Kubernetes sets NEURON_EXPORTER_PORT and others for a Service named neuron-exporter."""
    assert config.load(None, {f"NEURON_EXPORTER_{name}": "tcp://10.0.0.1"}).config == Config()


def test_empty_variable_is_ignored(config: ConfigFile) -> None:
    environment = {f"{PREFIX}LOG__LEVEL": "", f"{PREFIX}LOG__FORMAT": " "}
    assert config.load("log: {level: debug}", environment).config.log.level == "debug"


def test_anchors_and_merge_keys(config: ConfigFile) -> None:
    loaded = config.load(
        "prometheus: &sink\n  exclude: [system_*]\ncloudwatch:\n  <<: *sink\n  exclude: []\n"
    )
    assert loaded.config.prometheus.exclude == ["system_*"]
    assert loaded.config.cloudwatch.exclude == []


def test_variable_does_not_change_aliased_section(config: ConfigFile) -> None:
    text = "prometheus: &p {preset: minimal}\ncloudwatch: *p"
    loaded = config.load(text, {f"{PREFIX}CLOUDWATCH__PRESET": "full"}).config
    assert (loaded.prometheus.preset, loaded.cloudwatch.preset) == ("minimal", "full")


# Errors


def test_all_errors_at_once(config: ConfigFile) -> None:
    assert sorted(
        config.problems(
            "source:\n  period: 5\n  kid: stdin\nprometheus:\n  include:\n  - good\n  - [bad]\n",
            {f"{PREFIX}LOG__LEVEL": "loud"},
            [Override("--listen", "prometheus.listen", "9415")],
        )
    ) == [
        '--listen: prometheus.listen: must be HOST:PORT, as in ":9415", '
        "\"127.0.0.1:9415\" or \"[::1]:9415\" (got '9415')",
        "FILE:2: source.period: must be a duration with its unit, such as \"5s\" or \"1m\" (got 5)",
        "FILE:3: source.kid: unknown setting; did you mean kind?",
        "FILE:7: prometheus.include.1: must be text (got a list)",
        f"{PREFIX}LOG__LEVEL: log.level: must be debug, info, warning or error (got 'loud')",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("soruce: {}", "soruce: unknown setting; did you mean source?"),
        ("log: {xyz: 1}", "log.xyz: unknown setting; allowed are level, format"),
        ("1: {}", "1: unknown setting; allowed are source, counters, prometheus, cloudwatch"),
        ("on: {}", "on: unknown setting; allowed are"),
        ("source: {~: 1}", "source.~: unknown setting"),
        ("log: {level: info, level: info}", "log.level: is set twice"),
        ("source: {<<: {perod: 5s}}", "source.perod: unknown setting; did you mean period?"),
        ("log: 3", "log: must be a mapping (got 3)"),
        ("source: text", "source: must be a mapping"),
        ("source: {kind: Stdin}", "must be neuron-monitor, stdin, file or simulator (got 'Stdin')"),
        ("source: {period: }", 'such as "5s" or "1m" (got null)'),
        ("source: {period: 1.5s}", "must be a whole number of seconds"),
        ("source: {period: 2h}", "must be between 1s and 1h (got '2h')"),
        ("source: {period: " + "9" * 400 + "s}", "must be between 1s and 1h (got '999"),
        ("source: {period: 0x" + "f" * 5000 + "}", "(got a text of 5002 characters)"),
        ("source: {period: 1" + ":59" * 5000 + "}", "(got '1:59:59:"),
        ("source: {period: 1" + ":59" * 5000 + ".5}", "(got '1:59:59:"),
        ("source: {max_line: 12:30}", 'must be a size such as "16MiB"'),
        ("source: {max_line: 1}", "must be at least 1024 bytes (got 1)"),
        ("source: {max_line: 16}", "must be at least 1024 bytes (got 16)"),
        ("source: {max_line: 16 M}", 'must be a size such as "16MiB"'),
        ("source: {max_line: true}", 'must be a size such as "16MiB" (got True)'),
        ("source: {command: sleep}", "must be a list, as in [a, b]"),
        ("source: {command: []}", "must not be empty"),
        ("source: {command: ['']}", "must begin with the name of a program"),
        ("source: {command: [a, 5]}", "source.command.1: must be text: put it in quotes"),
        ("source: {replay: {speed: -1}}", "source.replay.speed: must be at least 0 (got -1)"),
        ("source: {replay: {speed: .nan}}", "must be a number (got nan)"),
        ("source: {replay: {speed: fast}}", "must be a number (got 'fast')"),
        ("prometheus: {enabled: maybe}", "must be true or false (got 'maybe')"),
        ("prometheus: {enabled: }", "must be true or false (got null)"),
        ("prometheus: {listen: 9415}", 'must be HOST:PORT, as in ":9415"'),
        ("prometheus: {listen: 'localhost'}", "prometheus.listen: must be HOST:PORT"),
        ("prometheus: {listen: []}", "must not be empty (got [])"),
        ("prometheus: {listen: ['a:1', b]}", "prometheus.listen.1: must be HOST:PORT"),
        ("prometheus: {listen: ['a:1', 'a:1']}", "must not name an address twice"),
        ("prometheus: {listen: 'http://x:1'}", "must be HOST:PORT"),
        ("prometheus: {listen: 'a..b:1'}", "must be HOST:PORT"),
        ('prometheus: {listen: "a\\0:1"}', "must be HOST:PORT"),
        ("prometheus: {listen: '::1:9415'}", "must have an IPv6 address in brackets"),
        ("prometheus: {listen: 'x:65536'}", "must have a port from 0 to 65535 (got 'x:65536')"),
        ("prometheus: {runtime_labels: [pid, pid]}", "must not name a label twice"),
        ("prometheus: {runtime_labels: [tag]}", "must be runtime_tag or pid (got 'tag')"),
        ("cloudwatch: {namespace: 1.10}", "must be text: put it in quotes (got 1.1)"),
        ("cloudwatch: {region: us east}", "must be a region such as \"us-east-1\" (got 'us east')"),
        ("cloudwatch: {dimension_sets: [A]}", "dimension_sets.0: must be a list"),
        ("cloudwatch: {dimension_sets: [['']]}", "dimension_sets.0.0: must not be empty (got '')"),
        ("cloudwatch: {dimension_sets: [[A, B], [B, A]]}", "must not name a set of dimensions"),
        ("cloudwatch: {extra_dimensions: {Env: yes}}", "extra_dimensions.Env: must be text: put"),
        ("source: {environment: {A-B: x}}", "must be the name of an environment variable, such as"),
        ("cloudwatch: {budget: {max_metrics: 1.5}}", "must be a whole number (got 1.5)"),
        ("cloudwatch: {budget: {max_monthly_usd: 0}}", "must be more than 0 (got 0)"),
        ("cloudwatch: {spool: {max_bytes: 1KiB}}", "must be at least 65536 bytes (got '1KiB')"),
        ("cloudwatch: {spool: {max_age: 15d}}", "must be between 1m and 14d (got '15d')"),
        ("identity: {kubernetes: maybe}", "must be true, false or auto (got 'maybe')"),
        ('identity: {cluster: "a\\nb"}', "must be text without control characters"),
    ],
)  # fmt: skip
def test_error_names_line_and_key(config: ConfigFile, text: str, problem: str) -> None:
    (found,) = config.problems(text)
    assert found.startswith("FILE:1: ")
    assert problem in found


@pytest.mark.parametrize(
    "value",
    ["[word]", "word", "{A: [word]}", "{A: {word: word}}", "{A: 'word', B: 1}", '{A: "word\\0"}'],
)
def test_values_of_source_environment_are_not_shown(config: ConfigFile, value: str) -> None:
    (found,) = config.problems(f"source: {{environment: {value}}}")
    assert found.startswith("FILE:1: source.environment")
    assert "word" not in found
    assert "1" not in found.removeprefix("FILE:1: ")


def test_variables_of_the_child(config: ConfigFile) -> None:
    """null passes the value that the exporter has."""
    loaded = config.load(
        "source: {environment: {AWS_REGION: us-west-2, AWS_PROFILE: null}}",
        {
            f"{PREFIX}SOURCE__ENVIRONMENT__AWS_ROLE_ARN": "null",
            f"{PREFIX}SOURCE__ENVIRONMENT__Number": "1",
        },
    )
    assert loaded.config.source.variables() == {
        "AWS_REGION": "us-west-2",
        "AWS_PROFILE": None,
        "AWS_ROLE_ARN": None,
        "Number": "1",
    }
    assert "us-west-2" not in repr(loaded.config)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "FILE: must be a mapping of sections (source, counters, prometheus, cloudwatch, "),
        ("text", "(got 'text')"),
        ("log:\n\tlevel: info", "FILE:2: is not YAML: found character '\\t'"),
        ("log: {level: info", "FILE:1: is not YAML: "),
        ("log: *nowhere", "FILE:1: is not YAML: found undefined alias 'nowhere'"),
        ("log: !!python/name:os.system", "FILE:1: is not YAML: could not determine a constructor"),
        ("? [a]\n: b", "FILE:1: is not YAML with text as keys"),
        ("? " + "k" * 1025 + "\n: b", "FILE:1: has a key of more than 1024 characters"),
        ("log: 0001-01-01 00:00:00 +99:99", "FILE: is not YAML: "),
        ("log: {}\n---\nlog: {}", "FILE:2: is not YAML: "),
        (b"\xff\xfe", "FILE: is not YAML: 'utf-8' codec can't decode"),
        ("x" * (2**20 + 1), "FILE: cannot be read: larger than 1 MiB"),
        ("[" * 5000, "FILE: is nested too deeply"),
    ],
)
def test_invalid_file(config: ConfigFile, text: str | bytes, problem: str) -> None:
    (found,) = config.problems(text)
    assert problem in found


def test_recursive_alias(config: ConfigFile) -> None:
    assert config.problems("source: &a\n  command: *a\n")[0].startswith("FILE:2: source.command: ")


def test_number_of_values_is_limited_with_what_aliases_stand_for(config: ConfigFile) -> None:
    """A short file can stand for billions of values."""
    lines = ["- &l0 [x]"] + [f"- &l{at} [{', '.join([f'*l{at - 1}'] * 9)}]" for at in range(1, 12)]
    limit = f"stands for more than {MAX_VALUES} values"
    nested = "prometheus:\n  include:\n" + "".join(f"  {each}\n" for each in lines)
    assert config.problems(nested) == [f"FILE:7: {limit}"]
    listed = ", ".join("a" for _ in range(MAX_VALUES))
    assert config.problems(f"prometheus: {{include: [{listed}]}}") == [f"FILE:1: {limit}"]


@pytest.mark.parametrize("name", ["missing.yaml", "", "."])
def test_unreadable_file(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name) if name else name
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path or repr(path)}: cannot be read: ")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("LOGG__LEVEL", "debug", "logg: unknown setting; did you mean log?"),
        ("LOG", "debug", "log: must be a mapping (got 'debug')"),
        ("LOG", "[a]", "log: must be a mapping (got a list)"),
        ("LOG", "{level: info", "log: must be a mapping (got '{level: info')"),
        ("LOG__LEVEL", "INFO", "log.level: must be debug, info, warning or error (got 'INFO')"),
        ("LOG__LEVEL", "null", "log.level: must be debug, info, warning or error (got null)"),
        ("LOG__LEVEL__X", "1", "log.level: must be debug, info, warning or error (got a mapping)"),
        ("SOURCE", "{1: 2}", "source.1: unknown setting; allowed are kind, "),
        ("LOG", "{level: 1" + ":59" * 5000 + ".5}", "log.level: must be debug, "),
        ("SOURCE__COMMAND", "a b", "source.command: must be a list, as in [a, b]"),
        ("IDENTITY__CLUSTER", "\udcff", "identity.cluster: must be text without control"),
        ("", "x", "does not name a key (example: NEURON_EXPORTER__LOG__LEVEL)"),
        ("LOG__", "x", "does not name a key (example: NEURON_EXPORTER__LOG__LEVEL)"),
        ("__LEVEL", "x", "does not name a key (example: NEURON_EXPORTER__LOG__LEVEL)"),
    ],
)
def test_invalid_variable(config: ConfigFile, name: str, text: str, problem: str) -> None:
    (found,) = config.problems(None, {PREFIX + name: text})
    assert found.startswith(f"{PREFIX}{name}: {problem}")


def test_invalid_section_with_variable(config: ConfigFile) -> None:
    variable = f"{PREFIX}LOG__LEVEL"
    assert config.problems("log: 3", {variable: "info"}) == [
        f"FILE:1: log: must be a mapping, since {variable} is set (got 3)"
    ]


def test_overridden_value_is_not_validated(config: ConfigFile) -> None:
    assert config.load("log: {level: x}", {f"{PREFIX}LOG__LEVEL": "info"}).config == Config()


# Errors of other checks


def test_problem_names_origin(config: ConfigFile) -> None:
    loaded = config.load(
        "cloudwatch:\n  dimension_sets:\n  - [A]\n  - [B]\n", {f"{PREFIX}LOG__LEVEL": "info"}
    )
    lines = [
        loaded.problem("cloudwatch.dimension_sets.1", "is wrong", "B"),
        loaded.problem("cloudwatch.dimension_sets", "is wrong"),
        loaded.problem("cloudwatch.dimension_sets.1.0", "is wrong"),
        loaded.problem("log.level", "is wrong"),
        loaded.problem("web.page", "is wrong", False),
    ]
    assert [line.replace(str(config.path), "FILE") for line in lines] == [
        "FILE:4: cloudwatch.dimension_sets.1: is wrong (got 'B')",
        "FILE:2: cloudwatch.dimension_sets: is wrong",
        "FILE:4: cloudwatch.dimension_sets.1.0: is wrong",
        f"{PREFIX}LOG__LEVEL: log.level: is wrong",
        "default: web.page: is wrong (got False)",
    ]


@pytest.mark.parametrize(
    ("given", "hint"),
    [("perod", "did you mean period?"), ("q", "allowed are period, path"), ("", "allowed are")],
)
def test_suggest(given: str, hint: str) -> None:
    assert suggest(given, ("period", "path")).startswith(hint)


@pytest.mark.parametrize(
    "tag", ["bool", "int", "float", "timestamp", "map", "set", "omap", "binary"]
)
def test_value_does_not_fit_tag(config: ConfigFile, tag: str) -> None:
    for value in ("maybe", "[a]", "{a: b}", '"\\ud800"'):
        with pytest.raises(ConfigError) as caught:
            config.load(f"log: {{level: !!{tag} {value}}}")
        assert len(caught.value.problems) == 1


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(alphabet=" \n\t:-{}[],&*?|>!%@`'\"#ab1~<", max_size=60), st.binary()))
def test_any_file_is_loaded_or_rejected(config: ConfigFile, text: str | bytes) -> None:
    with suppress(ConfigError):
        config.load(text)
