"""Environment of the child: variables on an allow-list, so that secrets stay with the exporter."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from neuron_exporter.source.memory import memory_limit

TOOLS_DIRECTORY = "/opt/aws/neuron/bin"
"""Directory of AWS's Neuron tools. Only login shells have it on PATH."""

_PASSED = re.compile(
    r"PATH|HOME|TMPDIR|TZ|LANG|LC_\w+|LD_LIBRARY_PATH|GOMEMLIMIT|NO_PROXY|no_proxy"
    r"|NEURON_(?!EXPORTER_)\w+",
    re.ASCII,
)
_PROXY = re.compile(r"(?:HTTP|HTTPS|ALL|http|https|all)_(?:PROXY|proxy)")
_PROXY_WITHOUT_CREDENTIALS = re.compile(
    r"(?:[a-z0-9]+://)?(?:[\w.-]+|\[[0-9a-f:.]+\])(?::[0-9]+)?/?", re.ASCII | re.IGNORECASE
)

_GOMEMLIMIT_SHARE = 0.6


def child_environment(own: Mapping[str, str], added: Mapping[str, str | None]) -> dict[str, str]:
    """Return the child's environment, with AWS's tools on PATH and a memory limit for Go.

    neuron-monitor is a Go program and has been OOM-killed in small containers. Unless GOMEMLIMIT is
    set, it is 60 % of the container's memory.

    Args:
        own: the environment of this process.
        added: variables beyond the allow-list; None is the value in `own`, if it has one.
    """
    environment = {name: value for name, value in own.items() if _is_passed(name, value)}
    for name, value in added.items():
        passed = own.get(name) if value is None else value
        if passed is not None:
            environment[name] = passed
    folders = [*environment.get("PATH", os.defpath).split(os.pathsep), TOOLS_DIRECTORY]
    environment["PATH"] = os.pathsep.join(dict.fromkeys(folders))
    limit = memory_limit()
    if limit is not None:
        environment.setdefault("GOMEMLIMIT", str(int(limit * _GOMEMLIMIT_SHARE)))
    return environment


def dropped_variables(own: Mapping[str, str], added: Mapping[str, str | None]) -> list[str]:
    """Return the sorted names of the variables that the child does not get."""
    return sorted(own.keys() - child_environment(own, added).keys())


def _is_passed(name: str, value: str) -> bool:
    if _PROXY.fullmatch(name):
        return _PROXY_WITHOUT_CREDENTIALS.fullmatch(value) is not None
    return _PASSED.fullmatch(name) is not None
