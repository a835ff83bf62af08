"""The steps of a document: the commands of a section, run in a shell as a user does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.commands import shell_environment
from tests.support.documents import section
from tests.support.fleet import CREDENTIALS


def steps(document: str, heading: str) -> list[str]:
    """Return the commands of a section in their order, line breaks included."""
    pattern = r"^ *```console\n(.*?)^ *```$"
    blocks = re.findall(pattern, section(document, heading), re.DOTALL | re.MULTILINE)
    return [
        step.strip()
        for block in blocks
        for step in re.split(r"^ *\$ ", block, flags=re.MULTILINE)[1:]
    ]


def filled(step: str, values: Mapping[str, str]) -> str:
    """Return a command with the values of the names in capitals."""
    names = sorted(map(re.escape, values), key=len, reverse=True)
    return re.sub(rf"\b({'|'.join(names)})\b", lambda found: values[found[0]], step)


def run_step(
    command: str, folder: Path, programs: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder and print its duration; it must succeed. Those in `programs` come
    before others."""
    path = [programs, Path(sys.executable).parent, os.environ["PATH"]]
    name = _assigned_name(command)
    started = time.monotonic()
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'{command} && printf %s "${name}"' if name else command],
        cwd=folder,
        env=shell_environment(PATH=os.pathsep.join(map(str, filter(None, path))), **variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    print(f"{time.monotonic() - started:.1f} s: {command}")
    return done


def assigned(command: str, done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return the variable that a command has set, for later commands, which have other shells."""
    name = _assigned_name(command)
    return {name: done.stdout} if name else {}


def _assigned_name(command: str) -> str:
    found = re.match(r"([A-Z]+)=\$\(", command)
    return found[1] if found else ""


def aws_variables(url: str) -> dict[str, str]:
    """Return the variables of a shell whose AWS CLI uses moto at this address."""
    return {**CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": url}
