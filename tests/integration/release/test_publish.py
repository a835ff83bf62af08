"""`make publish` with a real registry and Helm; stand-ins note what buildx and cosign are to do."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_exporter import __version__
from tests.conftest import missing
from tests.support.certificates import CertificateAuthority
from tests.support.children import script
from tests.support.helm import HELM
from tests.support.registry import USER, Registry, running_registry
from tests.support.releases import ENVIRONMENT, clone, commit_of, release

pytestmark = [
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
    pytest.mark.usefixtures("needs_helm"),
]

PASSWORD = "secret"  # noqa: S105 (of a registry that the test starts)
BASE = f"sha256:{'a' * 64}"
IMAGE = f"sha256:{'b' * 64}"

BUILDX = f"""
case "$1 $2" in
"buildx imagetools") echo {BASE} ;;
"buildx build")
    printf '%s\\n' "$@" >"$NOTES/build"
    while [ "$1" != --metadata-file ]; do shift; done
    echo '{{"containerimage.digest": "{IMAGE}"}}' >"$2" ;;
*) exit 1 ;;
esac
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with a release in `dist`."""
    folder = clone(tmp_path_factory.mktemp("clone") / "source")
    done = release(folder, __version__)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """An empty registry with a certificate, which Helm trusts, and a password, which it knows."""
    if shutil.which("docker-registry") is None:
        missing("docker-registry is not installed (make docker-registry)")
    certificate = CertificateAuthority(tmp_path).sign("registry")
    (tmp_path / "registry").mkdir()
    with running_registry(tmp_path / "registry", PASSWORD, certificate) as started:
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        config = {"auths": {started.address: {"auth": login}}}
        (tmp_path / "login.json").write_text(json.dumps(config))
        yield started


def environment(tmp_path: Path, *programs: str) -> dict[str, str]:
    """Return the variables of a publication with these stand-ins on the PATH, and no other docker
    or cosign."""
    folder = tmp_path / "programs"
    folder.mkdir()
    stand_ins = {"docker": BUILDX, "cosign": 'echo "$@" >>"$NOTES/signed"'}
    for name in programs:
        script(folder / name, stand_ins[name])
    for name in ("sh", "git", "sed", "date", "mktemp", "rm", "dirname", "sha256sum"):
        (folder / name).symlink_to(str(shutil.which(name)))
    script(folder / "python3", f'exec {sys.executable} "$@"')
    return {
        **ENVIRONMENT,
        "PATH": str(folder),
        "NOTES": str(tmp_path),
        "SSL_CERT_FILE": str(tmp_path / "authority.pem"),
        "HELM_REGISTRY_CONFIG": str(tmp_path / "login.json"),
        "HELM_CACHE_HOME": str(tmp_path / "cache"),
    }


def publish(
    source: Path, registry: str, variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run what `make publish` runs."""
    command = [source / ".ci" / "publish.sh", __version__, registry]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def test_image_and_chart_are_pushed_and_signed(
    source: Path, registry: Registry, tmp_path: Path
) -> None:
    """Both signatures are for digests: buildx' of the image, and the registry's of the chart."""
    variables = environment(tmp_path, "docker", "cosign")
    done = publish(source, f"{registry.address}/owner", variables)
    assert done.returncode == 0, done.stderr
    build = (tmp_path / "build").read_text().splitlines()
    assert build[build.index("--tag") + 1] == (
        f"{registry.address}/owner/neuron-exporter:{__version__}-toolless"
    )
    assert build[build.index("--platform") + 1] == "linux/amd64,linux/arm64"
    arguments = {f"BASE_DIGEST={BASE}", f"REVISION={commit_of(source)}", "NEURON_TOOLS=none"}
    assert arguments < set(build)
    (pinned,) = [each for each in build if each.startswith("PYTHON_IMAGE=")]
    assert pinned.endswith(f"@{BASE}")
    chart = f"oci://{registry.address}/owner/charts/neuron-exporter"
    pulled = subprocess.run(
        [HELM, "pull", chart, f"--version={__version__}", f"--destination={tmp_path}"],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    name = f"neuron-exporter-{__version__}.tgz"
    assert (tmp_path / name).read_bytes() == (source / "dist" / name).read_bytes()
    digest = re.search(r"Digest: (\S+)", pulled.stdout + pulled.stderr)
    assert digest is not None
    assert (tmp_path / "signed").read_text().splitlines() == [
        f"sign --yes {registry.address}/owner/neuron-exporter@{IMAGE}",
        f"sign --yes {registry.address}/owner/charts/neuron-exporter@{digest[1]}",
    ]


def test_nothing_is_pushed_without_cosign(source: Path, tmp_path: Path) -> None:
    done = publish(source, "registry.example.com/owner", environment(tmp_path, "docker"))
    assert (done.returncode, done.stderr) == (2, "publish: cosign is not installed\n")
    assert not (tmp_path / "build").exists()


def test_changed_files_are_not_pushed(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(source, copy, symlinks=True)
    with (copy / "dist" / f"neuron-exporter-{__version__}.tgz").open("ab") as chart:
        chart.write(b"more")
    done = publish(copy, "registry.example.com/owner", environment(tmp_path, "docker", "cosign"))
    assert done.returncode == 2
    assert done.stderr.endswith("publish: dist differs from its SHA256SUMS\n")
    assert not (tmp_path / "build").exists()
