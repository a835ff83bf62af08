"""The memory of a real control group, as the kernel reports it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.cgroups import memory_group

MIB = 2**20

PROGRAM = """
import json, os, subprocess, sys
from neuron_exporter.source.memory import limited_group

group = limited_group()
used = [group.used()]
other = subprocess.Popen(
    [sys.executable, "-c", "data = bytearray(40 * 2**20); print(len(data), flush=True); input()"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
)
other.stdout.readline()
used.append(group.used())
with open(sys.argv[1], "wb") as file:
    file.write(bytes(60 * 2**20))
    file.flush()
    os.fsync(file.fileno())
used.append(group.used())
other.communicate()
print(json.dumps([group.limit, *used]))
"""


def test_use_of_a_control_group(tmp_path: Path) -> None:
    """Another process of the group counts; a file that was written, which the kernel keeps in its
    cache, does not."""
    with memory_group(400 * MIB) as prefix:
        done = subprocess.run(
            [*prefix, sys.executable, "-c", PROGRAM, str(tmp_path / "file")],
            capture_output=True,
            text=True,
            check=True,
        )
    limit, alone, beside, after = json.loads(done.stdout)
    assert limit == 400 * MIB
    assert beside - alone > 40 * MIB
    assert after - beside < 30 * MIB
