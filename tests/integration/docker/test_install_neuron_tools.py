"""The script that puts AWS's tools into the image, run with a package made here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.children import script
from tests.support.paths import ROOT

SCRIPT = ROOT / "docker" / "exporter" / "install_neuron_tools.sh"
PACKAGE, VERSION = "aws-neuronx-tools", "2.32.28.0-0123"
NOTICES = f"usr/share/doc/{PACKAGE}/copyright"

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("dpkg-deb", "dpkg-query", "gpg", "ldd"))),
    reason="dpkg and gpg are not installed",
)


def key(folder: Path) -> str:
    """Write a new public key to a folder, and return its fingerprint."""
    with TemporaryDirectory() as home:  # a short path, as sockets need

        def gpg(*arguments: str) -> str:
            command = ["gpg", "--homedir", home, "--batch", "--pinentry-mode=loopback", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            return done.stdout

        try:
            gpg("--passphrase=", "--quick-gen-key", "tests@example.com", "ed25519", "sign")
            (folder / "key.asc").write_text(gpg("--armor", "--export"))
            listed = gpg("--with-colons", "--list-keys")
        finally:
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)
    return listed.partition("\nfpr:::::::::")[2].partition(":")[0]


def package(folder: Path, *files: str) -> None:
    """Write a package with AWS's programs and more files to a folder."""
    top = folder / "content"
    for name in ("opt/aws/neuron/bin/neuron-monitor", "opt/aws/neuron/bin/neuron-ls", *files):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
    control = top / "DEBIAN" / "control"
    control.parent.mkdir()
    control.write_text(
        f"Package: {PACKAGE}\nVersion: {VERSION}\nArchitecture: amd64\n"
        "Maintainer: tests <tests@example.com>\nDescription: tools\n"
    )
    command = ["dpkg-deb", "--root-owner-group", "-b", top, folder / f"{PACKAGE}.deb"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("files", [(), (NOTICES,)], ids=["without notices", "with notices"])
def test_tools_are_installed_and_registered(files: tuple[str, ...], tmp_path: Path) -> None:
    """The package is the only one that is added to the database, with the files that are in the
    tree. Whatever the script writes outside of the tree is in a folder of the test, and its
    downloads are replaced."""
    fingerprint = key(tmp_path)
    package(tmp_path, *files)
    programs, stage, tree = (tmp_path / name for name in ("programs", "stage", "tree"))
    (stage / "etc/apt/sources.list.d").mkdir(parents=True)
    programs.mkdir()
    script(programs / "apt-get", f'[ "$1" != download ] || cp "{tmp_path}"/*.deb .')
    script(programs / "curl", f'cp "{tmp_path}/key.asc" "{stage}/neuron.asc"')
    moved = re.sub(
        r"(?<![\w.}])/(?=(neuron\.(asc|gpg)|needs|download|package|etc/apt)\b)",
        f"{stage}/",
        SCRIPT.read_text(),
    )
    (tmp_path / SCRIPT.name).write_text(moved)
    done = subprocess.run(
        ["sh", tmp_path / SCRIPT.name, VERSION, "https://example.com", "jammy", fingerprint, tree],
        env={"PATH": f"{programs}:{os.environ['PATH']}", "GNUPGHOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    database = f"--admindir={tree}/var/lib/dpkg"

    def query(*arguments: str) -> str:
        command = ["dpkg-query", database, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert query("--show", "--showformat=${Version} ${Status}", PACKAGE) == (
        f"{VERSION} install ok installed"
    )
    listed = query("--listfiles", PACKAGE).splitlines()
    installed = sorted(name.removeprefix("/") for name in listed if (tree / name[1:]).is_file())
    assert installed == sorted(
        ["opt/aws/neuron/bin/neuron-ls", "opt/aws/neuron/bin/neuron-monitor", *files]
    )
    sums = tree / "var/lib/dpkg/info" / f"{PACKAGE}.md5sums"
    assert len(sums.read_text().splitlines()) == len(installed)
    subprocess.run(["md5sum", "--check", "--quiet", sums], cwd=tree, check=True)
