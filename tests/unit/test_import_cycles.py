"""No module imports itself through others, in any part of the repository."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import ROOT

Imports = Mapping[str, set[str]]
"""Names of the modules that each module imports."""

PARTS = {
    "package": (ROOT / "exporter", "neuron_exporter"),
    "grafana": (ROOT, "grafana"),
    "workloads": (ROOT / "docker" / "workloads", "."),
}
"""Directory on the module search path, and the folder of the modules below it."""


def module_names(base: Path, folder: str) -> Iterator[tuple[str, Path]]:
    """Yield the modules below a folder, named relative to `base`."""
    for path in sorted((base / folder).rglob("*.py")):
        yield ".".join(path.relative_to(base).with_suffix("").parts), path


def imports_of(base: Path, folder: str) -> Imports:
    """Return the imports between the modules of a folder, including those within functions."""
    paths = dict(module_names(base, folder))
    found: dict[str, set[str]] = {}
    for module, path in paths.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                # `from package import name` imports a module or a module's attribute.
                modules = {f"{node.module}.{alias.name}" for alias in node.names} & paths.keys()
                names |= modules or {node.module}
        found[module] = {
            name for name in (candidate(each, paths) for each in names) if name and name != module
        }
    return found


def candidate(name: str, paths: Mapping[str, Path]) -> str | None:
    """Return the module that an import of `name` loads, or None for one of another part."""
    return next((each for each in (name, f"{name}.__init__") if each in paths), None)


def cycle(imports: Imports) -> list[str]:
    """Return the modules of one import cycle, or an empty list."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("part", PARTS)
def test_no_import_cycle(part: str) -> None:
    imports = imports_of(*PARTS[part])
    assert any(imports.values())
    assert cycle(imports) == []


def test_a_cycle_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("import two\n")
    (tmp_path / "two.py").write_text("def work():\n    from one import work\n")
    assert set(cycle(imports_of(tmp_path, "."))) == {"one", "two"}
