"""Fixtures, and what a missing component means."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings

from neuron_exporter.config import load
from tests import captures
from tests.support.endpoint import Endpoint, cloudwatch_endpoint
from tests.support.kubernetes import CHECKOV
from tests.support.servers import LOCALSTACK, localstack_server, moto_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Whoever starts the tests in the background has them ignore signals, and their children with them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile("fuzz", max_examples=10_000, deadline=None)

IN_CI = os.environ.get("CI") == "true"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` writes golden files anew; read the difference before committing it."""
    parser.addoption("--update-golden", action="store_true", help="write golden files anew")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked soak, image or workloads runs only when it is asked for."""
    for marker, reason in (
        ("soak", "runs for long: make soak"),
        ("image", "needs the built image: make test-image"),
        ("workloads", "needs PyTorch: make test-workloads"),
    ):
        if marker not in config.getoption("markexpr"):
            skip = pytest.mark.skip(reason=reason)
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(skip)


def missing(what: str) -> None:
    """Skip the test, or fail where every component has to be there."""
    if IN_CI:
        pytest.fail(what)
    pytest.skip(what)


class Golden:
    """Compares text with a committed file, or writes the file."""

    def __init__(self, folder: Path, *, update: bool) -> None:
        self._folder = folder
        self._update = update

    def check(self, name: str, text: str) -> None:
        """Fail unless the file of this name holds this text."""
        path = self._folder / name
        if self._update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return
        assert path.exists(), (
            f"no golden file {path.name}: run `make golden`, and read what it wrote"
        )
        assert path.read_text() == text, f"{path.name} differs: `make golden`, then read the diff"


@pytest.fixture(autouse=True, scope="session")
def _this_machine_as_before() -> Iterator[None]:
    """No test leaves requests where an exporter of this machine would find and send them."""
    default = Path(load().config.cloudwatch.spool.path or "")
    before = default.parent.exists()
    yield
    assert default.parent.exists() == before


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """The log of the whole process is set back after each test."""
    kept, last_resort = structlog.get_config(), logging.lastResort
    yield
    structlog.configure(**kept)
    logging.lastResort = last_resort


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Golden files beside the test's module, in `files`."""
    folder = Path(request.path).parent / "files"
    return Golden(folder, update=request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def thirty_two_runtimes() -> Path:
    """The recorded report of a trn1n.32xlarge with 32 runtimes: 445 kB on one line."""
    if not captures.THIRTY_TWO_RUNTIMES.exists():
        pytest.skip(captures.MISSING)
    return captures.THIRTY_TWO_RUNTIMES


@pytest.fixture(scope="session")
def needs_prometheus() -> None:
    """Prometheus and promtool are installed."""
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed (Debian: prometheus)")


@pytest.fixture(scope="session")
def needs_checkov() -> None:
    """checkov is installed."""
    if not CHECKOV.exists():
        missing("checkov is not installed (make checkov)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; one for a file, each look has a context of its own."""
    if shutil.which("chromium") is None:
        missing("chromium is not installed (Debian: chromium)")
    from tests.support.browser import running_browser

    with running_browser() as started:
        yield started


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A place for CloudWatch that keeps what it is sent."""
    with cloudwatch_endpoint() as started:
        yield started


@pytest.fixture
def nobodys_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of nobody, and no metadata service or file to find others in."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The address of a moto server that the whole run shares; tests use namespaces of their own."""
    with moto_server() as url:
        yield url


@pytest.fixture(scope="session")
def localstack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a LocalStack that the whole run shares."""
    if not LOCALSTACK.exists():
        missing("LocalStack is not installed (make localstack)")
    with localstack_server(tmp_path_factory.mktemp("localstack")) as url:
        yield url
