"""Commands as a user runs them: output, errors and exit status."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter import __version__
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import select_for_prometheus
from tests.support.children import LINE
from tests.support.commands import Finished, run
from tests.support.documents import table
from tests.support.endpoint import Endpoint

LEVEL = "NEURON_EXPORTER__LOG__LEVEL"
COMMANDS = [
    *("run", "demo", "check", "metrics", "cost", "alarms", "task-definition", "instance-types"),
    *("cloudwatch-dashboard", "simulate", "record", "config", "doctor", "healthcheck"),
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a file that does not exist yet."""
    return tmp_path / "exporter.yaml"


@pytest.fixture
def used_port() -> Iterator[int]:
    """Return a port that is in use."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        yield listener.getsockname()[1]


def errors(finished: Finished, status: int = 2) -> list[str]:
    """Return the error lines of a command that printed nothing else and exited with `status`."""
    assert finished.status == status, finished
    assert finished.out == ""
    assert all(line.startswith("neuron-exporter: ") for line in finished.err.splitlines())
    return finished.error_lines


def events(finished: Finished, name: str) -> list[dict[str, Any]]:
    """Return the log events of this name."""
    logged = [json.loads(line) for line in finished.err.splitlines()]
    return [event for event in logged if event["event"] == name]


# The configuration

SCHEMA_ERRORS = """\
source:
  perod: 5s
prometheus:
  preset: fuller
cloudwatch:
  flush_interval: 90
"""

OTHER_ERRORS = """\
source:
  kind: file
  path: /nowhere/reports
prometheus:
  include: [neuroncore_utilisation_ratio]
cloudwatch:
  enabled: true
  dimension_sets:
  - [InstanceID]
"""


@pytest.mark.parametrize("command", ["run", "check"])
def test_all_schema_errors_at_once(config: Path, command: str) -> None:
    config.write_text(SCHEMA_ERRORS)
    listen = ["--listen", "9415"] if command == "run" else []
    finished = run(command, "--config", str(config), *listen, environment={LEVEL: "loud"})
    expected = [
        f"{config}:2: source.perod: unknown setting; did you mean period?",
        f"{config}:4: prometheus.preset: must be none, minimal, standard or full (got 'fuller')",
        f"{config}:6: cloudwatch.flush_interval: must be a duration with its unit, such as "
        '"5s" or "1m" (got 90)',
        f"{LEVEL}: log.level: must be debug, info, warning or error (got 'loud')",
    ]
    if listen:
        expected.append(
            '--listen: prometheus.listen: must be HOST:PORT, as in ":9415", '
            '"127.0.0.1:9415" or "[::1]:9415" (got \'9415\')'
        )
    assert sorted(errors(finished)) == sorted(expected)


@pytest.mark.parametrize("command", ["run", "check"])
def test_all_other_errors_at_once(config: Path, command: str) -> None:
    config.write_text(OTHER_ERRORS)
    path, pattern, dimension = sorted(errors(run(command, "--config", str(config))))
    assert path == f"{config}:3: source.path: is not a file (got '/nowhere/reports')"
    assert pattern.startswith(f"{config}:5: prometheus.include")
    assert "did you mean neuroncore_utilization_ratio" in pattern
    assert dimension.startswith(f"{config}:9: cloudwatch.dimension_sets.0: unknown dimension; did")
    assert " InstanceId " in dimension
    assert dimension.endswith(" (got 'InstanceID')")


def test_both_kinds_of_errors_at_once(config: Path) -> None:
    """A section with a schema error is not checked further."""
    config.write_text(OTHER_ERRORS.replace("kind: file", "kind: files"))
    kind, pattern, dimension = sorted(errors(run("check", "--config", str(config))))
    assert kind.startswith(f"{config}:2: source.kind: must be neuron-monitor, ")
    assert pattern.startswith(f"{config}:5: prometheus.include")
    assert dimension.startswith(f"{config}:9: cloudwatch.dimension_sets.0: unknown dimension")


@pytest.mark.parametrize("command", ["check", "record"])
def test_missing_configuration(tmp_path: Path, command: str) -> None:
    missing = tmp_path / "missing.yaml"
    finished = run(command, "--config", str(missing))
    assert errors(finished) == [f"{missing}: cannot be read: No such file or directory"]


def test_check_summary(config: Path) -> None:
    config.write_text("cloudwatch: {enabled: true, flush_interval: 30s, preset: minimal}\n")
    finished = run("check", "--config", str(config))
    assert (finished.status, finished.err) == (0, "")
    good, source, prometheus, cloudwatch, count, names = finished.out.splitlines()
    assert good == f"{config}: good"
    assert source.startswith("  source: neuron-monitor, every 5s: execution_stats, ")
    rows = len(select_for_prometheus("full", [], [])[0].rows)
    assert prometheus == f"  prometheus: {rows} metrics at :9415/metrics"
    assert cloudwatch == "  cloudwatch: every 30s, namespace NeuronExporter"
    assert count.startswith("    4 metrics of a simulated trn1.32xlarge, 1.20 USD a month")
    assert names == (
        "    [InstanceId, InstanceType]: 4 metrics: EccUncorrected, ExecutionErrors, "
        "ExporterHeartbeat, NeuronCoreUtilization"
    )


DOUBTFUL = """\
prometheus:
  enabled: false
cloudwatch:
  enabled: true
  region: eu-west1
  extra_dimensions:
    InstanceId: foo
  budget:
    max_metrics: 5
"""


def test_doubtful_settings(config: Path) -> None:
    """`run` accepts them and logs each once; `check` names them, and fails with --strict."""
    config.write_text(DOUBTFUL)
    environment = {"NEURON_EXPORTER_CLOUDWATCH_ENABLED": "true"}
    region = "is not a region of AWS; regions have the form of \"us-east-1\" (got 'eu-west1')"
    expected = [
        "NEURON_EXPORTER_CLOUDWATCH_ENABLED: unknown variable, ignored; did you mean "
        "NEURON_EXPORTER__CLOUDWATCH__ENABLED?",
        f"{config}:5: cloudwatch.region: {region}",
        f"{config}:7: cloudwatch.extra_dimensions.InstanceId: all machines with this configuration "
        "publish to the same metrics; without this line, each has its own (got 'foo')",
        f"{config}:8: cloudwatch.budget: allows 5 of 10 metrics (3.00 USD a month); not published: "
        "HostMemoryUtilization, HostCpuUtilization, NeuronDeviceMemoryUtilization, "
        "ExecutionsCompleted, ExecutionLatency in [InstanceId, InstanceType]",
    ]
    strict = run("check", "--config", str(config), "--strict", environment=environment)
    assert (strict.status, strict.err) == (2, "")
    checked = run("check", "--config", str(config), environment=environment)
    assert (checked.status, checked.err, checked.out) == (0, "", strict.out)
    lines = checked.out.splitlines()
    assert lines[:5] == [
        *(f"warning: {line}" for line in expected),
        f"{config}: valid, with 4 warning(s)",
    ]
    ran = run(
        *("run", "--config", str(config), "--source", "stdin", "--listen", "127.0.0.1:0"),
        environment={**environment, "NEURON_EXPORTER__CLOUDWATCH__SPOOL__PATH": "null"},
    )
    assert [event["setting"] for event in events(ran, "setting_doubtful")] == expected


@pytest.mark.parametrize(
    "document",
    ["{}", "cloudwatch: {enabled: true}", "cloudwatch: {enabled: false, namespace: N}"],
)
def test_strict_check_accepts_intended_settings(config: Path, document: str) -> None:
    config.write_text(document)
    assert run("check", "--config", str(config), "--strict").status == 0


def test_disabled_feature_is_reported(config: Path) -> None:
    config.write_text("identity:\n  pod_labels: [team]\n  kubernetes: yes\n")
    checked = run("check", "--config", str(config))
    expected = [
        f"{config}:2: identity.pod_labels: KUBERNETES_SERVICE_HOST is not set: the exporter "
        "does not run in a pod"
    ]
    assert checked.status == 0
    warnings = [line for line in checked.out.splitlines() if line.startswith("warning: ")]
    assert warnings == [f"warning: {line}" for line in expected]
    flags = ("--source", "stdin", "--listen", "127.0.0.1:0")
    ran = run("run", "--config", str(config), *flags, given=LINE.decode())
    assert ran.status == 0
    assert [event["setting"] for event in events(ran, "setting_doubtful")] == expected


# Flags


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("rnu", "invalid choice: 'rnu'"),
        ("run --lisen x", "unrecognized arguments: --lisen x"),
        ("run now", "unrecognized arguments: now"),
        ("run --config", "argument --config: expected one argument"),
        ("check", "the following arguments are required: --config"),
        ("metrics --markdown=yes", "argument --markdown: ignored explicit argument 'yes'"),
        ("record --reports 0", "--reports: must be a whole number from 1 to 1000000000 (got '0')"),
        ("run --port http", "--port: must be a whole number from 0 to 65535 (got 'http')"),
        ("run --port 65536", "--port: must be a whole number from 0 to 65535 (got '65536')"),
        ("run --cert-file x", "--cert-file is not supported: TLS is configured with prometheus."),
        ("run --key-file=x", "--key-file is not supported: TLS is configured with prometheus."),
        ("run --key-file", "--key-file is not supported: TLS is configured with prometheus."),
        ("run --enable-k8s-info", "is not supported: pods are found with identity.kubernetes"),
    ],
)
def test_invalid_command_line(arguments: str, message: str) -> None:
    finished = run(*arguments.split())
    assert (finished.status, finished.out) == (2, "")
    assert finished.err.startswith("usage: neuron-exporter")
    assert message in finished.err.splitlines()[-1]
    assert "Traceback" not in finished.err


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command: str) -> None:
    finished = run(*command.split(), "--help")
    assert (finished.status, finished.err) == (0, "")
    assert finished.out.startswith(f"usage: neuron-exporter {command}".rstrip() + " [-h]")
    if not command:
        named = set(re.findall(r"^ {4}(\S+)", finished.out, re.MULTILINE))
        assert named == {row[0].strip("`").split()[0] for row in table("README.md", "| command |")}


@pytest.mark.parametrize("words", [["--version"], ["run", "--version"]])
def test_version(words: list[str]) -> None:
    finished = run(*words)
    assert (finished.status, finished.err) == (0, "")
    assert finished.out.startswith(f"neuron-exporter, version {__version__} (revision: ")


def test_unknown_dimension_in_common_dims() -> None:
    (message,) = errors(
        run("run", "--namespace", "N", "--common-dims", "instance_id,SubnetId,instanc_type")
    )
    assert message.startswith("--common-dims: cloudwatch.dimension_sets.0: unknown dimension; ")
    assert "InstanceType" in message
    assert message.endswith("(got 'instanc_type')")


# Running


@pytest.mark.parametrize("source", ["stdin", "FILE"])
def test_flags_of_aws_scripts(tmp_path: Path, endpoint: Endpoint, source: str) -> None:
    path = tmp_path / "reports.ndjson"
    path.write_bytes(LINE * 4)
    finished = run(
        *("run", "--source", source.replace("FILE", str(path)), "--port", "0"),
        *("--namespace", "Other/Name", "--region", "eu-west-9"),
        *("--common-dims", "instance_type, instance_id,InstanceType"),
        environment={
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "NEURON_EXPORTER__CLOUDWATCH__ENDPOINT_URL": endpoint.url,
            "NEURON_EXPORTER__CLOUDWATCH__SPOOL__PATH": str(tmp_path / "spool.db"),
            "NEURON_EXPORTER__IDENTITY__INSTANCE_TYPE": "trn1.2xlarge",
            "NEURON_EXPORTER__SOURCE__REPLAY__SPEED": "0",
        },
        given=LINE.decode() * 4 if source == "stdin" else "",
    )
    assert (finished.status, finished.out) == (0, "")
    assert events(finished, "stopping")[0]["reason"] == "end of input"
    assert endpoint.total("ExecutionsCompleted") == 12
    assert {request["Namespace"] for request in endpoint.requests} == {"Other/Name"}
    assert all("/eu-west-9/monitoring/" in each["Authorization"] for each in endpoint.headers)
    dimensions = [
        {"Name": "InstanceType", "Value": "trn1.2xlarge"},
        {"Name": "InstanceId", "Value": "i-0123456789abcdef0"},
    ]
    assert all(datum["Dimensions"] == dimensions for datum in endpoint.datums())


@pytest.mark.parametrize(
    ("command", "name"), [("run", "missing"), ("run", "a folder"), ("record", "missing")]
)
def test_missing_source_file(tmp_path: Path, command: str, name: str) -> None:
    (tmp_path / "a folder").mkdir()
    path = tmp_path / name
    messages = errors(run(command, "--source", str(path)))
    assert messages == [f"--source: source.path: is not a file (got '{path}')"]


@pytest.mark.parametrize("command", ["run --listen 127.0.0.1:0", "record"])
def test_mistyped_source(command: str) -> None:
    messages = errors(run(*command.split(), "--source", "simulater"))
    allowed = "must be neuron-monitor, stdin, file or simulator"
    assert messages == [f"--source: source.kind: {allowed} (got 'simulater')"]


@pytest.mark.parametrize("text", ["", "nothing\n", "{}\n"])
@pytest.mark.parametrize("source", ["stdin", "FILE"])
def test_source_without_reports(tmp_path: Path, source: str, text: str) -> None:
    """Such as a pipe from a program whose name is mistyped."""
    path = tmp_path / "notes.txt"
    path.write_text(text)
    name = source.replace("FILE", str(path))
    finished = run("run", "--source", name, "--listen", "127.0.0.1:0", given=text)
    assert (finished.status, finished.out) == (1, "")
    (failed,) = events(finished, "source_failed")
    place = name.replace("stdin", "standard input")
    assert failed["reason"] == f"{place}: contains no report of neuron-monitor"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --source stdin --listen 127.0.0.1:{0}", "127.0.0.1:{0}: {1} (prometheus.listen, or"),
        ("run --source stdin --port {0}", ":{0}: {1} (prometheus.listen, or --listen)"),
        ("demo --listen 127.0.0.1:{0}", "127.0.0.1:{0}: {1}; choose another with --listen"),
    ],
)
def test_address_in_use(used_port: int, arguments: str, message: str) -> None:
    (line,) = errors(run(*arguments.format(used_port).split()), status=1)
    expected = message.format(used_port, "Address already in use")
    assert line.startswith(f"cannot listen on {expected}")


# Output


@pytest.mark.parametrize("flags", [[], ["--markdown"]])
def test_metrics(flags: list[str]) -> None:
    finished = run("metrics", *flags)
    assert (finished.status, finished.err) == (0, "")
    assert all(row.name in finished.out for row in CATALOGUE if row.layouts)
    assert finished.out.startswith("# Metrics" if flags else "PROMETHEUS ")
