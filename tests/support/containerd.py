"""A containerd: a gRPC server in Go on a unix socket."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.waiting import wait_for

CONFIG = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt",
    "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.overlayfs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{folder}/containerd.sock"
  uid = {uid}
  gid = {gid}
[ttrpc]
  uid = {uid}
  gid = {gid}
"""


class Containerd(NamedTuple):
    """A running containerd and the path of its socket."""

    process: subprocess.Popen[bytes]
    socket: str


@contextmanager
def containerd_server(folder: Path) -> Iterator[Containerd]:
    """Run a containerd that keeps everything in this folder, and starts no container."""
    folder.mkdir(exist_ok=True)
    config, log, socket = folder / "config.toml", folder / "log", folder / "containerd.sock"
    config.write_text(CONFIG.format(folder=folder, uid=os.getuid(), gid=os.getgid()))
    with log.open("wb") as stderr:
        process = subprocess.Popen(["containerd", "--config", config], stderr=stderr)
    try:
        wait_for(lambda: socket.exists() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield Containerd(process, str(socket))
    finally:
        process.kill()
        process.wait()
