"""A registry of images, and `docker` commands that run without an engine."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import shlex
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support.children import script
from tests.support.clients import basic_auth
from tests.support.processes import ended
from tests.support.stacks import Account
from tests.support.waiting import wait_for
from tests.support.web_config import bcrypt_hash

USER = "AWS"
_MANIFEST = (
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.oci.image.manifest.v1+json"
)
"""The types of manifests that Docker and OCI have."""


class Registry:
    """Debian's docker-registry, which requires a password as ECR does."""

    def __init__(self, address: str, password: str) -> None:
        self.address = address
        """HOST:PORT, the first part of the names of its images."""
        self._password = password

    def repositories(self) -> set[str]:
        """Return the names of the repositories with an image."""
        return set(json.loads(self._get("_catalog"))["repositories"])

    def configuration(self, repository: str, tag: str) -> Mapping[str, Any]:
        """Return the configuration of an image: its entry point, its command, its variables."""
        digest = self._manifest(repository, tag)["config"]["digest"]
        document: dict[str, Any] = json.loads(self._get(f"{repository}/blobs/{digest}"))
        configuration: dict[str, Any] = document["config"]
        return configuration

    def files(self, repository: str, tag: str) -> set[str]:
        """Return the absolute paths of the files in the layers of an image."""
        found = set()
        for layer in self._manifest(repository, tag)["layers"]:
            blob = gzip.decompress(self._get(f"{repository}/blobs/{layer['digest']}"))
            with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
                found |= {f"/{each.name}" for each in archive if each.isfile()}
        return found

    def _manifest(self, repository: str, tag: str) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads(self._get(f"{repository}/manifests/{tag}"))
        return manifest

    def _get(self, path: str) -> bytes:
        headers = {"Accept": _MANIFEST, "Authorization": basic_auth(USER, self._password)}
        request = urllib.request.Request(f"http://{self.address}/v2/{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 (loopback)
            body: bytes = response.read()
        return body


@contextmanager
def running_registry(
    folder: Path, password: str, certificate: tuple[Path, Path] | None = None
) -> Iterator[Registry]:
    """Run a registry on a free port with its files in this folder, over TLS with a certificate and
    its key."""
    users, log = folder / "users", folder / "log"
    users.write_text(f"{USER}:{bcrypt_hash(password)}\n")
    configuration: dict[str, Any] = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": "127.0.0.1:0"},
        "auth": {"htpasswd": {"realm": "ECR", "path": str(users)}},
    }
    if certificate:
        chain, key = map(str, certificate)
        configuration["http"]["tls"] = {"certificate": chain, "key": key}
    file = folder / "registry.yml"
    file.write_text(yaml.safe_dump(configuration))
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(file)], stdout=output, stderr=output
        )

    def address() -> str:
        assert process.poll() is None, log.read_text()
        found = re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text())
        return found[1] if found else ""

    with ended(process):
        yield Registry(wait_for(address), password)


@contextmanager
def ecr(account: Account, folder: Path) -> Iterator[Registry]:
    """Run an empty registry that has the password of an account's ECR, with its files in this
    folder."""
    (token,) = account.ecr.get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(token["authorizationToken"]).decode().partition(":")
    assert user == USER
    folder.mkdir()
    with running_registry(folder, password) as started:
        yield started


def add_docker(programs: Path, folder: Path) -> None:
    """Add a `docker` to the programs that runs Buildah, with its storage in this folder.

    Buildah has the same commands and flags, and no engine. It uses HTTP only with a flag. Old
    versions ignore the default of `NEURON_TOOLS`, which selects the last stage.
    """
    storage = f"--root {folder}/storage --runroot {folder}/runroot --storage-driver vfs"
    buildah = f"exec buildah {storage}"
    script(
        programs / "docker",
        f"export REGISTRY_AUTH_FILE={shlex.quote(str(folder / 'auth.json'))}\n"
        "command=$1; shift\n"
        'case "$command" in\n'
        f'build) {buildah} build --format docker --build-arg NEURON_TOOLS=aws "$@" ;;\n'
        f'*) {buildah} "$command" --tls-verify=false "$@" ;;\n'
        "esac",
    )


def without_run(dockerfile: Path) -> None:
    """Reduce a Dockerfile to what it copies and sets: an empty base and no commands, which would
    install gigabytes."""
    text = re.sub(r"^ *#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^RUN (?:.*\\\n)*.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\$\{(PYTHON|NEURON)_IMAGE\}", "scratch", text)
    dockerfile.write_text(text.replace("COPY --from=tools /tools /\n", ""))
