"""Fixtures for all tests, and the rule for components that are not installed."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from neuron_exporter.config import load
from tests import captures
from tests.support.endpoint import Endpoint, cloudwatch_endpoint
from tests.support.helm import HELM
from tests.support.kubernetes import CHECKOV
from tests.support.servers import LOCALSTACK, localstack_server, moto_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# A shell that starts the tests in the background makes them, and so their children, ignore signals.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# No test uses the proxies, credentials or settings of the shell, pod or task that starts it.
for _name in [*os.environ]:
    if _name.startswith(("AWS_", "ECS_", "KUBERNETES_", "NEURON_EXPORTER__")) or (
        _name.lower().endswith("_proxy")
    ):
        del os.environ[_name]

# jsonschema imports it for formats that no schema here has. Its grammars take seconds to build.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

# No test depends on the speed of the machine.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("default"), max_examples=25)
settings.register_profile("fuzz", settings.get_profile("default"), max_examples=10_000)
settings.load_profile("default")

IN_CI = os.environ.get("CI") == "true"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--update-golden`, which writes golden files; read the diff before you commit it."""
    parser.addoption("--update-golden", action="store_true", help="write golden files")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests marked soak, image, workloads or preview unless `-m` names the marker."""
    for marker, reason in (
        ("soak", "runs for minutes: make soak"),
        ("image", "needs the built image: make test-image"),
        ("workloads", "needs PyTorch: make test-workloads"),
        ("preview", "needs Grafana's front end: make dashboards-preview"),
    ):
        if marker not in config.getoption("markexpr"):
            skip = pytest.mark.skip(reason=reason)
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(skip)


def missing(reason: str) -> None:
    """Skip the test; fail it in CI, where every component must be installed."""
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def _patience() -> Iterator[None]:
    """Let the servers of a busy machine respond late; tests of time limits set their own."""
    from neuron_exporter.doctor import aws
    from neuron_exporter.sinks.cloudwatch import put_metric_data
    from neuron_exporter.sinks.delivery import aws_session
    from neuron_exporter.sinks.otlp import connection, transport
    from tests.support.attempts import PATIENT

    with pytest.MonkeyPatch.context() as patch:
        for attempts in (put_metric_data, transport):
            patch.setattr(attempts, "ATTEMPT_SECONDS", PATIENT)
        patch.setattr(aws, "TIMEOUT", PATIENT)
        for reads in (aws, aws_session, connection):
            patch.setattr(reads, "READ_TIMEOUT", 30.0)
        yield


class Golden:
    """Golden files: compares text with a committed file, or writes the file."""

    def __init__(self, folder: Path, *, update: bool) -> None:
        self._folder = folder
        self._update = update

    def check(self, name: str, text: str) -> None:
        """Fail unless the file `name` contains `text`."""
        path = self._folder / name
        if self._update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return
        assert path.exists(), f"no golden file {path.name}: run `make golden`, then read the file"
        assert path.read_text() == text, f"{path.name} differs: run `make golden`, read the diff"


@pytest.fixture(autouse=True, scope="session")
def _default_spool_is_left_alone() -> Iterator[None]:
    """No test writes to the default spool, which an exporter of this machine may use and send.

    The tests' own writes are watched, not the folder: other programs may change it meanwhile.
    """
    folder = str(Path(load().config.cloudwatch.spool.path or "").parent)
    written: list[str] = []
    watching = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event in ("os.mkdir", "sqlite3.connect") and folder in str(arguments[0]):
            written.append(f"{event} {arguments[0]}")

    sys.addaudithook(watch)
    yield
    watching = False  # a hook cannot be removed
    assert not written


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Restore the process's log configuration after each test."""
    kept, last_resort = structlog.get_config(), logging.lastResort
    yield
    structlog.configure(**kept)
    logging.lastResort = last_resort


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Return the golden files in `files`, beside the test's module."""
    folder = Path(request.path).parent / "files"
    return Golden(folder, update=request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def thirty_two_runtimes() -> Path:
    """Return the recorded report of a trn1n.32xlarge with 32 runtimes: 445 kB on one line."""
    if not captures.THIRTY_TWO_RUNTIMES.exists():
        pytest.skip(captures.MISSING)
    return captures.THIRTY_TWO_RUNTIMES


@pytest.fixture(scope="session")
def needs_prometheus() -> None:
    """Require Prometheus and promtool."""
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed (Debian: prometheus)")


@pytest.fixture(scope="session")
def needs_alertmanager() -> None:
    """Require Alertmanager and amtool."""
    for program in ("prometheus-alertmanager", "amtool"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed (Debian: prometheus-alertmanager)")


@pytest.fixture(scope="session")
def needs_containerd() -> None:
    """Require containerd."""
    if shutil.which("containerd") is None:
        missing("containerd is not installed (Debian: containerd)")


@pytest.fixture(scope="session")
def needs_checkov() -> None:
    """Require checkov."""
    if not CHECKOV.exists():
        missing("checkov is not installed (make checkov)")


@pytest.fixture(scope="session")
def needs_helm() -> None:
    """Require Helm."""
    if not HELM.exists():
        missing("Helm is not installed (make helm)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Debian's Chromium, once per file; each page has a context of its own."""
    if shutil.which("chromium") is None:
        missing("chromium is not installed (Debian: chromium)")
    from tests.support.browser import running_browser

    with running_browser() as started:
        yield started


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Start an HTTP server in CloudWatch's place that keeps the requests it receives."""
    with cloudwatch_endpoint() as started:
        yield started


@pytest.fixture
def fake_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set invalid credentials, and disable the metadata service and files that have others."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """Return the URL of a moto server shared by the session; tests use their own namespaces."""
    with moto_server() as url:
        yield url


@pytest.fixture(scope="session")
def localstack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a LocalStack shared by the session."""
    if not LOCALSTACK.exists():
        missing("LocalStack is not installed (make localstack)")
    with localstack_server(tmp_path_factory.mktemp("localstack")) as url:
        yield url
