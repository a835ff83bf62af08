"""The direction of imports, and what is imported when."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.support.paths import PACKAGE
from tests.support.web_config import bcrypt_hash

LAYERS: list[set[str]] = [
    {"build_info", "malloc", "text", "run_directory"},
    {
        *("model", "log", "readings", "telemetry", "facts"),
        *("address_file", "output", "own_files", "proxies", "validation"),
    },
    {"config", "source", "report", "simulator", "hardware"},
    {"metrics", "identity"},
    {"sinks", "web"},
    {"pipeline"},
    {"daemon", "doctor", "generate"},
    {"cli"},
    {"__main__"},
]
"""The packages, and the modules beside them, from the bottom up. One imports from lower layers and
from itself; two of one layer never import each other."""

ONLY_BOTTOM = {"sinks", "web"}
"""Packages that import from the two bottom layers alone, and get everything else as values."""


def layer_of(module: str) -> tuple[int, str]:
    """Return the layer and the package of a module, named below the package."""
    package = module.split(".")[0]
    for layer, packages in enumerate(LAYERS):
        if package in packages:
            return layer, package
    raise AssertionError(f"{package} has no layer: add it to LAYERS")


@cache
def modules() -> dict[str, Path]:
    """Return every module by its name below the package; the package itself is the empty name."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py" and path != PACKAGE / "sinks" / "__init__.py"
    }


@cache
def imported(path: Path) -> set[str]:
    """Return what a module imports from the package, by names below the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path.name}: imports are absolute here"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            known = {f"neuron_exporter.{name}" for name in modules()}
            found |= (names & known) or {node.module}
    prefix = "neuron_exporter."
    below = {name.removeprefix(prefix) for name in found if name.startswith(prefix)}
    return below - {"__init__"}


@pytest.mark.parametrize("name", modules())
def test_imports_point_down(name: str) -> None:
    """A module imports from lower layers and from its own package only."""
    layer, package = layer_of(name)
    for target in imported(modules()[name]):
        other_layer, other_package = layer_of(target)
        if other_package == package:
            continue
        assert other_layer < layer, f"{name} imports {target}"
        if package in ONLY_BOTTOM:
            assert other_layer <= 1, f"{name} imports {target}"


SHARED_BY_SINKS = {"delivery", "exposition", "machine_labels", "picker"}
"""Modules and packages below `sinks` that several sinks share."""


@pytest.mark.parametrize("name", [name for name in modules() if name.startswith("sinks.")])
def test_sinks_do_not_import_each_other(name: str) -> None:
    own = name.split(".")[1]
    others = {target.split(".")[1] for target in imported(modules()[name]) if "sinks." in target}
    assert others <= ({own} if own in SHARED_BY_SINKS else {own} | SHARED_BY_SINKS)


def test_package_has_one_name() -> None:
    """`exporter` is a namespace package in the repository's root: an import through it would create
    every class twice."""
    wrong = re.compile(r"^ *(?:from|import) exporter\b|exporter\.neuron_exporter", re.M)
    root = PACKAGE.parents[1]
    for folder in ("exporter", "docker", "grafana", "tests"):
        for path in (root / folder).rglob("*.py"):
            if path != Path(__file__):
                assert not wrong.search(path.read_text()), path


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


def test_launcher_imports_only_the_standard_library() -> None:
    tree = ast.parse((PACKAGE / "source" / "launch.py").read_text())
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert names <= set(sys.stdlib_module_names)
