"""The direction of imports."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import PACKAGE

LAYERS: list[set[str]] = [
    {"build_info", "compression", "malloc", "text", "run_directory"},
    {
        *("model", "log", "readings", "telemetry", "facts"),
        *("address_file", "output", "own_files", "proxies", "validation"),
    },
    {"config", "source", "report", "simulator", "hardware"},
    {"metrics", "identity"},
    {"sinks", "web"},
    {"pipeline"},
    {"daemon", "doctor", "generate"},
    {"cli"},
    {"__main__"},
]
"""The packages, and the modules beside them, from the bottom up. One imports from lower layers and
from itself; two of one layer never import each other."""

ONLY_BOTTOM = {"sinks", "web"}
"""Packages that import from the two bottom layers alone, and get everything else as values."""


def layer_of(module: str) -> tuple[int, str]:
    """Return the layer and the package of a module, named below the package."""
    package = module.split(".")[0]
    for layer, packages in enumerate(LAYERS):
        if package in packages:
            return layer, package
    raise AssertionError(f"{package} has no layer: add it to LAYERS")


@cache
def modules() -> dict[str, Path]:
    """Return every module by its name below the package; the package itself is the empty name."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py" and path != PACKAGE / "sinks" / "__init__.py"
    }


@cache
def full_names() -> frozenset[str]:
    """Return the full name of every module."""
    return frozenset(f"neuron_exporter.{name}" for name in modules())


@cache
def imported(path: Path) -> set[str]:
    """Return what a module imports from the package, by names below the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path.name}: imports are absolute here"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & full_names()) or {node.module}
    prefix = "neuron_exporter."
    below = {name.removeprefix(prefix) for name in found if name.startswith(prefix)}
    return below - {"__init__"}


@pytest.mark.parametrize("name", modules())
def test_imports_point_down(name: str) -> None:
    """A module imports from lower layers and from its own package only."""
    layer, package = layer_of(name)
    for target in imported(modules()[name]):
        other_layer, other_package = layer_of(target)
        if other_package == package:
            continue
        assert other_layer < layer, f"{name} imports {target}"
        if package in ONLY_BOTTOM:
            assert other_layer <= 1, f"{name} imports {target}"


SHARED_BY_SINKS = {"delivery", "exposition", "machine_labels", "picker"}
"""Modules and packages below `sinks` that several sinks share."""


@pytest.mark.parametrize("name", [name for name in modules() if name.startswith("sinks.")])
def test_sinks_do_not_import_each_other(name: str) -> None:
    own = name.split(".")[1]
    others = {target.split(".")[1] for target in imported(modules()[name]) if "sinks." in target}
    assert others <= ({own} if own in SHARED_BY_SINKS else {own} | SHARED_BY_SINKS)


def test_package_has_one_name() -> None:
    """`exporter` is a namespace package in the repository's root: an import through it would create
    every class twice."""
    wrong = re.compile(r"^ *(?:from|import) exporter\b|exporter\.neuron_exporter", re.M)
    root = PACKAGE.parents[1]
    for folder in ("exporter", "docker", "grafana", "tests"):
        for path in (root / folder).rglob("*.py"):
            if path != Path(__file__):
                assert not wrong.search(path.read_text()), path


def test_launcher_imports_only_the_standard_library() -> None:
    tree = ast.parse((PACKAGE / "source" / "launch.py").read_text())
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert names <= set(sys.stdlib_module_names)
