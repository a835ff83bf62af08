"""Write everything that a release publishes into dist/: `make release VERSION=0.1.0`.

Everything is built from an export of the commit, in which every file has the commit's time, so a
second run writes the same bytes. Only the base of the image is the machine's own.

    release.py check VERSION
    release.py write VERSION
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import runpy
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

TOP = Path(__file__).resolve().parents[1]
DIST = TOP / "dist"
HELM = Path(os.environ.get("HELM", TOP / ".helm" / "helm" / "helm"))
IMAGE_FOLDER = TOP / ".image"
NAME = "neuron-exporter"
PACKAGE = Path("exporter", "neuron_exporter")
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def output(*command: str | Path) -> str:
    """Run a program at the top of the repository and return what it prints."""
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True).stdout


def check(version: str) -> None:
    """Exit with status 2 unless the commit that is checked out can be released as `version`."""
    own = runpy.run_path(str(TOP / PACKAGE / "__init__.py"))["__version__"]
    if version != own:
        stop(f"VERSION must be {own}, the package's version (got {version or 'none'})")
    if changes := output("git", "status", "--porcelain").splitlines():
        more = f" and {len(changes) - 1} more" if changes[1:] else ""
        stop(f"a release needs a clean working tree (changed: {changes[0][3:]}{more})")


def stop(message: str) -> None:
    """Print an error and exit."""
    print(f"release: {message}", file=sys.stderr)
    sys.exit(2)


def export(commit: str, folder: Path) -> None:
    """Write the commit's files into `folder`, all with the commit's time, and the file REVISION."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=TOP, capture_output=True, check=True)
    # Permissions of git's archive depend on its configuration, these do not.
    unpack = ["tar", "-x", "--no-same-permissions", "--no-same-owner", "-C", str(folder)]
    subprocess.run(unpack, input=archive.stdout, check=True)
    (folder / PACKAGE / "REVISION").write_text(f"{commit}\n")


def write_source(source: Path, epoch: int) -> None:
    """Write the source archive, which has all that the documents name, such as ecs and k8s."""

    def neutral(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = epoch
        return entry

    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(source, arcname=source.name, filter=neutral)
    compressed = gzip.compress(target.getvalue(), mtime=epoch)
    (DIST / f"{source.name}-source.tar.gz").write_bytes(compressed)


def write_package(source: Path, epoch: int) -> None:
    """Write the source distribution and the wheel."""
    for kind in ("sdist", "wheel"):
        code = f"from setuptools.build_meta import build_{kind} as b; b({str(DIST)!r})"
        run_quietly([sys.executable, "-c", code], source)
    (sdist,) = DIST.glob(f"{PACKAGE.name}-*.tar.gz")
    with tarfile.open(sdist) as archive:
        files = {
            each.name: archive.extractfile(each).read()  # type: ignore[union-attr]
            for each in archive
            if each.isfile()
        }
    # setuptools stores the time of the build and the user.
    sdist.write_bytes(gzip.compress(tar_of(files, epoch), mtime=epoch))


def write_chart(source: Path, version: str) -> None:
    """Write the chart's package, which has the linked files in place of the links."""
    if not HELM.exists():
        print("no chart: Helm is not installed (make helm)")
        return
    command = [HELM, "package", "k8s/chart", f"--version={version}", f"--destination={DIST}"]
    run_quietly(command, source)


def write_bill_of_materials(source: Path, version: str) -> None:
    """Write the libraries that the image installs, from the locked requirements."""
    target = DIST / f"{NAME}-{version}.cdx.json"
    command = [
        *(sys.executable, "-m", "cyclonedx_py", "requirements", "docker/exporter/requirements.txt"),
        *("--pyproject", "pyproject.toml", "--output-reproducible", "--spec-version", "1.6"),
        *("--output-file", target),
    ]
    run_quietly(command, source)
    document = json.loads(target.read_text())
    document["metadata"]["component"]["version"] = version  # which pyproject.toml does not have
    write_json(target, document)


def write_image(source: Path, version: str, commit: str) -> None:
    """Write the image without AWS's tools for this machine's architecture, and its own bill of
    materials."""
    if missing := [each for each in ("buildah", "debootstrap") if shutil.which(each) is None]:
        print(f"no image: {' and '.join(missing)} not installed")
        return
    if os.geteuid() != 0:
        print("no image: buildah with debootstrap needs root")
        return
    home = runpy.run_path(str(TOP / PACKAGE / "facts" / "project.py"))["HOME"] or "unknown"
    labels = {"VERSION": version, "REVISION": commit, "SOURCE": home, "URL": home}
    command = [str(source / "tests" / "image" / "build.sh"), str(IMAGE_FOLDER), sys.executable]
    subprocess.run(command, env={**os.environ, **labels}, check=True)
    architecture = MACHINES.get(platform.machine(), platform.machine())
    name = f"{NAME}-{version}-toolless-linux-{architecture}"
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    archive = image_archive(IMAGE_FOLDER / "image", f"{NAME}:{version}-toolless")
    (DIST / f"{name}.oci.tar").write_bytes(tar_of(archive, epoch))
    document = json.loads((DIST / f"{NAME}-{version}.cdx.json").read_text())
    document["components"] += debian_packages(IMAGE_FOLDER / "root", architecture)
    write_json(DIST / f"{name}.cdx.json", document)
    for other in sorted({*MACHINES.values()} - {architecture}):
        print(f"no image for {other}: this machine runs {architecture} (make publish builds both)")


def image_archive(folder: Path, name: str) -> dict[str, bytes]:
    """Return the files of an OCI archive of an image that buildah has written to `folder`.

    The configuration has the health check, which the OCI format does not know but engines read, and
    manifest.json lets `docker load` read the archive, as in archives of `docker save`.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    config = json.loads((folder / digest_of(manifest["config"])).read_text())
    for random in ("container", "container_config"):  # of the build
        config.pop(random, None)
    config["config"].pop("Hostname", None)
    files: dict[str, bytes] = {}

    def add(content: bytes, kind: str, **more: Any) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        files[f"blobs/sha256/{digest}"] = content
        media_type = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content), **more}

    configuration = add(encoded(config), "config.v1+json")
    layers = [
        add((folder / digest_of(layer)).read_bytes(), "layer.v1.tar+gzip")
        for layer in manifest["layers"]
    ]
    kind = "manifest.v1+json"
    document = {"schemaVersion": 2, "mediaType": f"application/vnd.oci.image.{kind}"}
    content = encoded({**document, "config": configuration, "layers": layers})
    names = {"org.opencontainers.image.ref.name": name}
    index = {"schemaVersion": 2, "manifests": [add(content, kind, annotations=names)]}
    paths = [f"blobs/sha256/{digest_of(part)}" for part in (configuration, *layers)]
    loaded = [{"Config": paths[0], "RepoTags": [name], "Layers": paths[1:]}]
    files["index.json"] = encoded(index)
    files["manifest.json"] = encoded(loaded)
    files["oci-layout"] = encoded({"imageLayoutVersion": "1.0.0"})
    return files


def digest_of(part: Mapping[str, Any]) -> str:
    """Return the digest of a manifest's part without its algorithm."""
    return str(part["digest"]).removeprefix("sha256:")


def encoded(document: Any) -> bytes:
    """Return a JSON document on one line."""
    return json.dumps(document).encode()


def debian_packages(root: Path, architecture: str) -> list[dict[str, str]]:
    """Return the CycloneDX components of the Debian packages in a root file system."""
    found = []
    for entry in (root / "var/lib/dpkg/status").read_text().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line)
        if fields.get("Status", "").endswith(" installed"):
            name, version = fields["Package"], fields["Version"]
            address = f"pkg:deb/debian/{name}@{version.replace('+', '%2B')}?arch={architecture}"
            component = {"type": "library", "name": name, "version": version, "purl": address}
            found.append({**component, "bom-ref": address})
    return found


def write_checksums() -> None:
    """Write SHA256SUMS, which `sha256sum --check` reads."""
    files = sorted(DIST.iterdir())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (DIST / "SHA256SUMS").write_text("".join(lines))


def tar_of(files: Mapping[str, bytes], epoch: int) -> bytes:
    """Return a tar archive with sorted names, one time for all files, and no user."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), epoch
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document for people and programs."""
    path.write_text(json.dumps(document, indent=2) + "\n")


def run_quietly(command: list[Any], folder: Path) -> None:
    """Run a program; if it fails, print what it said and exit with status 1."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout + done.stderr, file=sys.stderr)
        sys.exit(1)


def write(version: str) -> None:
    """Write all artefacts of the commit that is checked out."""
    os.umask(0o022)
    commit = output("git", "rev-parse", "HEAD").strip()
    epoch = int(output("git", "show", "--no-patch", "--format=%ct", "HEAD"))
    os.environ |= {"SOURCE_DATE_EPOCH": str(epoch), "PYTHONWARNINGS": "ignore", "TZ": "UTC"}
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    with TemporaryDirectory() as folder:
        source = Path(folder, f"{NAME}-{version}")
        export(commit, source)
        write_source(source, epoch)
        write_chart(source, version)
        write_bill_of_materials(source, version)
        write_image(source, version, commit)
        write_package(source, epoch)
    write_checksums()
    print(f"dist has version {version}, commit {commit[:12]}:")
    print((DIST / "SHA256SUMS").read_text(), end="")


if __name__ == "__main__":
    check(sys.argv[2])
    if sys.argv[1] == "write":
        write(sys.argv[2])
