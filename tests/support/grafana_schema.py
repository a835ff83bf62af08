"""Validation of dashboards with TypeScript and Grafana's own types (`make grafana-schema`)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.paths import ROOT

MODULES = ROOT / ".grafana" / "node_modules"
"""Directory that `make grafana-schema` creates."""

_COMPILER = MODULES / "typescript" / "bin" / "tsc"

# TypeScript's string enums do not accept plain strings, which is what JSON has.
_HEAD = """import type { Dashboard } from "@grafana/schema";
type Plain<T> =
  T extends string ? `${T}` :
  T extends (infer U)[] ? Plain<U>[] :
  T extends object ? { [K in keyof T]: Plain<T[K]> } :
  T;
"""


def missing() -> str:
    """Return why the schema cannot be checked here; empty if it can."""
    if shutil.which("node") is None:
        return "node, which runs TypeScript, is not installed"
    if not _COMPILER.exists():
        return "Grafana's schema is not installed (make grafana-schema)"
    return ""


def errors(folder: Path, documents: dict[str, str]) -> str:
    """Return TypeScript's errors for dashboards (JSON by name) as values of Grafana's type."""
    (folder / "node_modules").symlink_to(MODULES)
    paths = []
    for name, text in documents.items():
        path = folder / f"{name}.ts"
        path.write_text(f"{_HEAD}export const dashboard: Plain<Dashboard> = {text};\n")
        paths.append(str(path))
    done = subprocess.run(
        ["node", str(_COMPILER), "--noEmit", "--strict", "--skipLibCheck", "--preserveSymlinks",
         "--module", "nodenext", "--moduleResolution", "nodenext", "--target", "es2022", *paths],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.stdout
