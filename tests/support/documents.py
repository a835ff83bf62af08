"""The project's documents as data: sections, code blocks, tables, commands and links."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator

from tests.support.paths import ROOT

FOLDERS = ("docs", "docker", "ecs", "exporter", "grafana", "k8s", "tests")
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.md"), *(p for name in FOLDERS for p in (ROOT / name).rglob("*.md"))]
)
"""Paths of all documents, relative to the top of the repository."""

_PUBLIC = ROOT / "tests" / "golden" / "files" / "public"


def text(document: str) -> str:
    """Return the text of a document."""
    return (ROOT / document).read_text()


def prose(document: str) -> str:
    """Return the text of a document without its code blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", text(document), flags=re.DOTALL | re.MULTILINE)


def section(document: str, heading: str) -> str:
    """Return the text below a heading, up to the next heading of the same or a higher level."""
    marks, _, rest = text(document).partition(f"# {heading}\n")
    assert rest, f"{document} has no section {heading!r}"
    level = len(marks) - len(marks.rstrip("#")) + 1
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def blocks(document: str, language: str, containing: str = "") -> list[str]:
    """Return the code blocks of a language that contain a text, without indentation."""
    pattern = rf"^ *```{language}\n(.*?)^ *```$"
    found = re.findall(pattern, text(document), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for block in found if containing in block]


def block(document: str, language: str, containing: str = "") -> str:
    """Return the first code block of a language that contains a text."""
    found = blocks(document, language, containing)
    assert found, f"{document} has no {language} block with {containing!r}"
    return found[0]


def tables(document: str, heading: str) -> list[list[list[str]]]:
    """Return the cells of every table whose header row contains a text."""
    found = []
    lines = text(document).splitlines()
    for number, line in enumerate(lines[:-1]):
        if line.startswith("|") and heading in line and lines[number + 1].startswith("|--"):
            rows = []
            for row in lines[number + 2 :]:
                if not row.startswith("|"):
                    break
                rows.append([cell.strip() for cell in row.strip("|").split(" | ")])
            found.append(rows)
    return found


def table(document: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table whose header row contains a text."""
    found = tables(document, heading)
    assert found, f"{document} has no table with {heading!r}"
    return found[0]


def queries() -> list[tuple[str, str]]:
    """Return the questions of docs/prometheus.md, each with its PromQL query."""
    parts = block("docs/prometheus.md", "promql").strip().split("\n\n")
    found = [part.partition("\n") for part in parts]
    return [(question.removeprefix("# "), query) for question, _, query in found]


def quoted(document: str) -> list[str]:
    """Return the inline code of a document."""
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose(document))]


def commands(document: str) -> list[str]:
    """Return the commands of the console blocks of a document, each in one line."""
    steps = [
        step.replace("\\\n", " ").splitlines()[0]
        for block in blocks(document, "console")
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]
    return [" ".join(step.split()) for step in steps]


def calls(document: str, program: str, *, inline: bool = True) -> Iterator[list[str]]:
    """Yield the arguments of each call of a program, in console blocks and in inline code."""
    for command in [*commands(document), *(quoted(document) if inline else [])]:
        for part in _simple_commands(command):
            if part and part[0].rpartition("/")[2] == program:
                yield part[1:]


def _simple_commands(command: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(command.replace("…", ""), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        for word in lexer:
            if word == "--" or set(word) <= set("|&;<>"):
                yield words
                words = []
            else:
                words.append(word)
    except ValueError:  # inline code that is not a command
        return
    yield words


def links(document: str) -> list[str]:
    """Return the targets of all links and pictures of a document."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(document))


def anchors(document: str) -> set[str]:
    """Return the anchors that GitHub creates for the headings of a document."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.strip().lower())
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 0
        while (f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(f"{slug}-{number}" if number else slug)
    return found


def public(subject: str) -> list[str]:
    """Return the lines of a golden file of public names (tests/golden/test_public_surface.py)."""
    return (_PUBLIC / f"{subject}.txt").read_text().splitlines()
