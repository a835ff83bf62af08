"""Libraries are imported only where they are needed, and an extra that is missing is named."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.support.commands import clean_environment
from tests.support.web_config import bcrypt_hash


def loaded_by(code: str) -> set[str]:
    """Return the modules that are loaded after this code has run."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


BUILD = """
from neuron_exporter.config import Override, load
from neuron_exporter.pipeline.build import build
pipeline = build(load(None, {}, [Override("x", "cloudwatch.enabled", %s)]), environment={})
"""


OTLP_LIBRARIES = {"opentelemetry", "google.protobuf"}


@pytest.mark.parametrize("enabled", [False, True])
def test_build_imports_no_optional_library(enabled: bool) -> None:
    """Even with CloudWatch on, botocore is imported by the first request."""
    loaded = loaded_by(BUILD % enabled)
    assert not loaded & {"botocore", "boto3", "urllib3", "grpclib", "sqlite3", "bcrypt"}
    assert not loaded & OTLP_LIBRARIES
    assert not {name for name in loaded if name.startswith("neuron_exporter.sinks.otlp")}


OTLP = """
from neuron_exporter.config import Override, load
from neuron_exporter.pipeline.build import build
settings = {"enabled": True, "endpoint": "http://127.0.0.1:1", "auth": %r}
flags = [Override("x", f"otlp.{key}", value) for key, value in settings.items()]
pipeline = build(load(None, {}, flags), environment={})
"""


@pytest.mark.parametrize("auth", ["none", "sigv4"])
def test_otlp_imports_clients_with_the_first_request(auth: str) -> None:
    loaded = loaded_by(OTLP % auth)
    assert "neuron_exporter.sinks.otlp.sink" in loaded
    assert not loaded & {"botocore", "boto3", "urllib3", "grpclib", "sqlite3"}


def test_otlp_without_signatures_imports_no_botocore() -> None:
    """Neither other signals of OTLP, nor its SDK, are imported."""
    code = f"""{OTLP % "none"}
from neuron_exporter.sinks.otlp.request import ExportRequest
print(pipeline.otlp._connect("").send(ExportRequest("", "", 0.0, b"")).code)
"""
    loaded = loaded_by(code)
    assert "urllib3" in loaded
    assert not loaded & {"botocore", "boto3", "opentelemetry.sdk", "requests", "grpc"}
    assert not {name for name in loaded if name.startswith("opentelemetry.proto.trace")}


def test_emf_imports_no_botocore() -> None:
    code = BUILD.replace('"cloudwatch.enabled", %s', '"cloudwatch.transport", "emf"')
    code = f"""{code.replace("[Override", '[Override("x", "cloudwatch.enabled", True), Override')}
from datetime import datetime
from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest
datum = {{"MetricName": "A", "Dimensions": [], "Timestamp": datetime.now(), "Unit": "Count"}}

request = PutMetricDataRequest("N", "", 0.0, [{{**datum, "Value": 1}}])
print(pipeline.cloudwatch._connect("").send(request).verdict)
"""
    assert not loaded_by(code) & {"botocore", "boto3", "urllib3"}


@pytest.mark.parametrize("users", [None, {"me": bcrypt_hash("x")}])
def test_bcrypt_is_imported_for_passwords_only(
    tmp_path: Path, users: dict[str, str] | None
) -> None:
    path = tmp_path / "web.yml"
    path.write_text(yaml.safe_dump({"basic_auth_users": users}))
    loaded = loaded_by(
        f"from neuron_exporter.web.config_file import WebConfigFile; WebConfigFile({str(path)!r})"
    )
    assert ("bcrypt" in loaded) is (users is not None)


def test_log_imports_no_rich() -> None:
    """structlog imports rich for tracebacks where it is installed; others can import it later."""
    loaded = loaded_by(
        "import rich; import sys; del sys.modules['rich']; import neuron_exporter.log"
    )
    assert "rich" not in loaded
    assert "rich.console" in loaded_by("import neuron_exporter.log; import rich.console")


def test_entry_point_imports_little() -> None:
    """Signals are handled before argparse and all libraries are imported."""
    loaded = loaded_by("import neuron_exporter.cli.main")
    assert not loaded & {"argparse", "pydantic", "prometheus_client", "structlog", "threading"}
    assert {name for name in loaded if name.startswith("neuron_exporter.")} <= {
        *(
            f"neuron_exporter.{name}"
            for name in ("cli", "cli.main", "daemon", "daemon.signals", "malloc")
        )
    }


def test_invalid_command_line_imports_little() -> None:
    code = """
from neuron_exporter.cli.main import main
try:
    main(["run", "--nonsense"])
except SystemExit:
    pass
"""
    loaded = loaded_by(code)
    assert not loaded & {"pydantic", "prometheus_client", "msgspec", "structlog", "yaml"}


# Extras that are not installed


WITHOUT_GRPC = """
    import sys
    sys.modules["grpclib"] = None  # as where the extra is not installed
    from neuron_exporter.pipeline import owners as owner_factory
    from neuron_exporter.config import Override, load
    flags = [Override("test", "identity.kubernetes", VALUE)]
    config = load(flags=flags)
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    print(list(owner_factory.check_owners(config)))
    print(list(owner_factory.owner_warnings(config, pod)))
    lookup = owner_factory.make_owner_lookup(config.config, pod)
    print(list(lookup.status()))
"""


def without_grpc(value: str) -> list[str]:
    """Return the errors, the warnings and the providers where gRPC cannot be imported."""
    program = textwrap.dedent(WITHOUT_GRPC).replace("VALUE", value)
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env=clean_environment(),
    ).stdout.splitlines()  # fmt: skip


def test_missing_kubernetes_extra() -> None:
    """`auto` warns and keeps the container logs; `true` is an error that names the extra."""
    problems, warnings, names = without_grpc("'auto'")
    assert problems == "[]"
    assert "needs the extra `kubernetes`" in warnings
    assert names == "['containers']"
    problems, _, _ = without_grpc("True")
    assert "needs the extra `kubernetes`" in problems


def test_grpc_is_imported_only_in_kubernetes() -> None:
    program = textwrap.dedent(
        """
        import sys
        from neuron_exporter.config import load
        from neuron_exporter.pipeline import owners
        from neuron_exporter.pipeline.build import build
        owners.DEFAULT_KUBELET_SOCKET = "/nonexistent/kubelet.sock"
        build(load())
        assert "grpclib" not in sys.modules and "google.protobuf" not in sys.modules
        import os
        os.environ["KUBERNETES_SERVICE_HOST"] = "10.0.0.1"
        build(load())
        assert "grpclib" in sys.modules
        """
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=clean_environment())


WITHOUT_PROTOBUF = """
import sys
sys.modules["opentelemetry"] = None
from neuron_exporter.config import ConfigError, Override, load
from neuron_exporter.pipeline.build import build
flags = {"otlp.enabled": IS_ON, "otlp.endpoint": "http://127.0.0.1:4318"}
try:
    build(load(flags=[Override("test", *each) for each in flags.items()]), environment={})
except ConfigError as error:
    print(error)
assert "google.protobuf" not in sys.modules
assert "neuron_exporter.sinks.otlp.sink" not in sys.modules
"""


@pytest.mark.parametrize("is_on", [True, False])
def test_missing_extra(*, is_on: bool) -> None:
    """One line names the package to install; without OTLP, nothing of it is imported."""
    program = textwrap.dedent(WITHOUT_PROTOBUF).replace("IS_ON", str(is_on))
    printed = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env=clean_environment(),
    ).stdout  # fmt: skip
    line = 'test: otlp.enabled: needs the extra `otlp` (pip install "neuron-exporter[otlp]")\n'
    assert printed == (line if is_on else "")
