"""The generated code of the kubelet's API."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

ROOT = ROOT / "exporter"
PROTO = "neuron_exporter/identity/owners/pod_resources.proto"


def test_generated_code_is_current(tmp_path: Path) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "protoc", f"--proto_path={ROOT}"),
            *(f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", PROTO),
        ],
        cwd=ROOT,
        check=True,
    )
    for kind in ("py", "pyi"):
        name = f"neuron_exporter/identity/owners/pod_resources_pb2.{kind}"
        assert (tmp_path / name).read_text() == (ROOT / name).read_text()
