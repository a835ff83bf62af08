"""Grafana's own types of dashboards (`make grafana-schema`), by which TypeScript checks them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.paths import ROOT

MODULES = ROOT / ".grafana" / "node_modules"
"""Where `make grafana-schema` puts them."""

_COMPILER = MODULES / "typescript" / "bin" / "tsc"

# A string enum takes none of its own values when they are written as text, as in JSON.
_HEAD = """import type { Dashboard } from "@grafana/schema";
type Plain<T> =
  T extends string ? `${T}` :
  T extends (infer U)[] ? Plain<U>[] :
  T extends object ? { [K in keyof T]: Plain<T[K]> } :
  T;
"""


def missing() -> str:
    """Why nothing can be checked here; empty if it can."""
    if shutil.which("node") is None:
        return "node, which runs TypeScript, is not installed"
    if not _COMPILER.exists():
        return "Grafana's schema is not installed (make grafana-schema)"
    return ""


def complaints(folder: Path, documents: dict[str, str]) -> str:
    """What TypeScript says of these dashboards (JSON by name) as values of Grafana's type."""
    (folder / "node_modules").symlink_to(MODULES)
    paths = []
    for name, text in documents.items():
        path = folder / f"{name}.ts"
        path.write_text(f"{_HEAD}export const it: Plain<Dashboard> = {text};\n")
        paths.append(str(path))
    done = subprocess.run(
        ["node", str(_COMPILER), "--noEmit", "--strict", "--skipLibCheck", "--preserveSymlinks",
         "--module", "nodenext", "--moduleResolution", "nodenext", "--target", "es2022", *paths],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.stdout
