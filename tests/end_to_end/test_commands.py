"""The commands as a user runs them: what they say, where they say it, and with which status."""

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
from neuron_exporter.metrics.selection import for_prometheus
from tests.support import readme
from tests.support.children import LINE
from tests.support.commands import Finished, run
from tests.support.endpoint import Endpoint

LEVEL = "NEURON_EXPORTER__LOG__LEVEL"
COMMANDS = [
    *("run", "demo", "check", "metrics", "cost", "alarms", "task-definition", "instance-types"),
    *("cloudwatch-dashboard", "simulate", "record"),
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file that is no configuration yet."""
    return tmp_path / "exporter.yaml"


@pytest.fixture
def occupied() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        yield listener.getsockname()[1]


def complaints(finished: Finished, status: int = 2) -> list[str]:
    """What a command said that ended with this status, and that did nothing else."""
    assert finished.status == status, finished
    assert finished.out == ""
    assert all(line.startswith("neuron-exporter: ") for line in finished.err.splitlines())
    return finished.complaints


def events(finished: Finished, name: str) -> list[dict[str, Any]]:
    """The log's events of this name."""
    logged = [json.loads(line) for line in finished.err.splitlines()]
    return [event for event in logged if event["event"] == name]


# The configuration

MISTAKES = """\
source:
  perod: 5s
prometheus:
  preset: fuller
cloudwatch:
  flush_interval: 90
"""

MISTAKES_OF_PARTS = """\
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
def test_every_mistake_is_told_at_once(config: Path, command: str) -> None:
    """File, variable and flag are judged together: each line has its place, the key, what was
    given, and what is allowed or was meant; `check` says what `run` would."""
    config.write_text(MISTAKES)
    listen = ["--listen", "9415"] if command == "run" else []
    finished = run(command, "--config", str(config), *listen, environment={LEVEL: "loud"})
    wanted = [
        f"{config}:2: source.perod: unknown setting; did you mean period?",
        f"{config}:4: prometheus.preset: must be minimal, standard or full (got 'fuller')",
        f"{config}:6: cloudwatch.flush_interval: must be a duration with its unit, such as "
        '"5s" or "1m" (got 90)',
        f"{LEVEL}: log.level: must be debug, info, warning or error (got 'loud')",
    ]
    if listen:
        wanted.append(
            '--listen: prometheus.listen: must be HOST:PORT, as in "0.0.0.0:9415" or "[::]:9415"'
            " (got '9415')"
        )
    assert sorted(complaints(finished)) == sorted(wanted)


@pytest.mark.parametrize("command", ["run", "check"])
def test_mistakes_that_only_parts_see_are_told_at_once(config: Path, command: str) -> None:
    """Names of metrics and dimensions and the paths of files are judged together as well."""
    config.write_text(MISTAKES_OF_PARTS)
    path, pattern, dimension = sorted(complaints(run(command, "--config", str(config))))
    assert path == f"{config}:3: source.path: is not a file (got '/nowhere/reports')"
    assert pattern.startswith(f"{config}:5: prometheus.include")
    assert "did you mean neuroncore_utilization_ratio" in pattern
    assert dimension.startswith(f"{config}:9: cloudwatch.dimension_sets.0: unknown dimension; did")
    assert " InstanceId " in dimension
    assert dimension.endswith(" (got 'InstanceID')")


def test_mistakes_of_both_kinds_are_told_at_once(config: Path) -> None:
    """A mistake that the parts see is not hidden behind one that the file itself shows; what
    stands in the same section is not judged, lest one mistake makes two."""
    config.write_text(MISTAKES_OF_PARTS.replace("kind: file", "kind: files"))
    kind, pattern, dimension = sorted(complaints(run("check", "--config", str(config))))
    assert kind.startswith(f"{config}:2: source.kind: must be neuron-monitor, ")
    assert pattern.startswith(f"{config}:5: prometheus.include")
    assert dimension.startswith(f"{config}:9: cloudwatch.dimension_sets.0: unknown dimension")


@pytest.mark.parametrize("command", ["check", "record"])
def test_a_missing_configuration_is_named(tmp_path: Path, command: str) -> None:
    """A file that is not there is one line with the system's reason."""
    missing = tmp_path / "missing.yaml"
    finished = run(command, "--config", str(missing))
    assert complaints(finished) == [f"{missing}: cannot be read: No such file or directory"]


def test_a_good_configuration_is_summarized(config: Path) -> None:
    """`check` says what would run: source, endpoint, and what CloudWatch would get."""
    config.write_text("cloudwatch: {enabled: true, flush_interval: 30s, preset: minimal}\n")
    finished = run("check", "--config", str(config))
    assert (finished.status, finished.err) == (0, "")
    good, source, prometheus, cloudwatch = finished.out.splitlines()
    assert good == f"{config}: good"
    assert source.startswith("  source: neuron-monitor, every 5s: execution_stats, ")
    shown = len(for_prometheus("full", [], [])[0].rows)
    assert prometheus == f"  prometheus: {shown} metrics at 0.0.0.0:9415/metrics"
    assert cloudwatch.startswith("  cloudwatch: every 30s, in 1 dimension set(s): ")
    assert "NeuronCoreUtilization" in cloudwatch


def test_what_is_gone_without_is_said_once(config: Path) -> None:
    """What is wished and cannot be had here is a warning, in `check` and in the log."""
    config.write_text("identity:\n  pod_labels: [team]\n  kubernetes: yes\n")
    checked = run("check", "--config", str(config))
    wanted = [
        f"{config}:2: identity.pod_labels: KUBERNETES_SERVICE_HOST is not set: we run in no pod"
    ]
    assert checked.status == 0
    warnings = [line for line in checked.out.splitlines() if line.startswith("warning: ")]
    assert warnings == [f"warning: {line}" for line in wanted]
    ran = run("run", "--config", str(config), "--source", "stdin", "--listen", "127.0.0.1:0")
    assert ran.status == 0
    assert [event["setting"] for event in events(ran, "gone_without")] == wanted


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
        ("record --reports 0", "--reports: must be a number from 1 to 1000000000 (got '0')"),
        ("run --port http", "--port: must be a number from 0 to 65535 (got 'http')"),
        ("run --port 65536", "--port: must be a number from 0 to 65535 (got '65536')"),
        ("run --cert-file x", "--cert-file is not a flag here: TLS is configured with prometheus."),
        ("run --key-file=x", "--key-file is not a flag here: TLS is configured with prometheus."),
        ("run --key-file", "--key-file is not a flag here: TLS is configured with prometheus."),
        ("run --enable-k8s-info", "not a flag here: pods are found with identity.kubernetes"),
    ],
)
def test_a_wrong_flag_is_named(arguments: str, message: str) -> None:
    """What is no command and no flag is told in the last line, after how it is used; status 2."""
    finished = run(*arguments.split())
    assert (finished.status, finished.out) == (2, "")
    assert finished.err.startswith("usage: neuron-exporter")
    assert message in finished.err.splitlines()[-1]
    assert "Traceback" not in finished.err


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_there(command: str) -> None:
    """--help explains the program and each command, on standard output."""
    finished = run(*command.split(), "--help")
    assert (finished.status, finished.err) == (0, "")
    assert finished.out.startswith(f"usage: neuron-exporter {command}".rstrip() + " [-h]")
    if not command:
        named = set(re.findall(r"^ {4}(\S+)", finished.out, re.MULTILINE))
        assert named == {row[0].strip("`").split()[0] for row in readme.table("command")}


def test_the_version_is_said() -> None:
    """--version is the package's version."""
    assert run("--version") == Finished(0, f"neuron-exporter {__version__}\n", "")


def test_an_unknown_dimension_is_told_with_those_that_exist() -> None:
    """--common-dims takes AWS's spelling and ours, and names what it does not know."""
    (said,) = complaints(
        run("run", "--namespace", "N", "--common-dims", "instance_id,SubnetId,instanc_type")
    )
    assert said.startswith("--common-dims: cloudwatch.dimension_sets.0: unknown dimension; ")
    assert "InstanceType" in said
    assert said.endswith("(got 'instanc_type')")


# Running


@pytest.mark.parametrize("source", ["stdin", "FILE"])
def test_the_flags_of_awss_scripts_do_what_they_did(
    tmp_path: Path, endpoint: Endpoint, source: str
) -> None:
    """Reports that are piped in, or in a file, reach CloudWatch under this namespace, in this
    region, with these dimensions; the end of input is the orderly end."""
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
def test_a_missing_file_is_one_line(tmp_path: Path, command: str, name: str) -> None:
    """A source that is no file is told before anything has begun."""
    (tmp_path / "a folder").mkdir()
    path = tmp_path / name
    said = complaints(run(command, "--source", str(path)))
    assert said == [f"--source: source.path: is not a file (got '{path}')"]


def test_a_file_without_a_report_is_a_failure(tmp_path: Path) -> None:
    """Whoever names the wrong file learns it, by a line and by the status."""
    path = tmp_path / "notes.txt"
    path.write_text("nothing\n")
    finished = run("run", "--source", str(path), "--listen", "127.0.0.1:0")
    assert (finished.status, finished.out) == (1, "")
    (failed,) = events(finished, "source_failed")
    assert failed["reason"] == f"{path}: no report of neuron-monitor in it"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --source stdin --listen 127.0.0.1:{0}", "127.0.0.1:{0}: {1} (prometheus.listen, or"),
        ("run --source stdin --port {0}", "0.0.0.0:{0}: {1} (prometheus.listen, or --listen)"),
        ("demo --listen 127.0.0.1:{0}", "127.0.0.1:{0}: {1}; choose another with --listen"),
    ],
)
def test_an_address_in_use_is_one_line(occupied: int, arguments: str, message: str) -> None:
    """Somebody else's port is told with the address, the reason, and where to choose another."""
    (said,) = complaints(run(*arguments.format(occupied).split()), status=1)
    assert said.startswith("cannot listen on " + message.format(occupied, "Address already in use"))


# Answers


@pytest.mark.parametrize("flags", [[], ["--markdown"]])
def test_every_metric_is_listed(flags: list[str]) -> None:
    """`metrics` names what there is, for people and as Markdown."""
    finished = run("metrics", *flags)
    assert (finished.status, finished.err) == (0, "")
    assert all(row.name in finished.out for row in CATALOGUE if row.layouts)
    assert finished.out.startswith("# Metrics" if flags else "PROMETHEUS ")
