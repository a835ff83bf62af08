"""Translation of expressions for Prometheus into queries for CloudWatch, which records no series.

The translation works on the parts of an expression: selectors, lists of labels, and the text
between them. It covers the PromQL that the rules use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

IDENTITY = "instance_id"
"""Label that identifies a machine in CloudWatch, in place of a target's address."""

OF_TARGETS = ("job", "instance")
"""Labels that Prometheus adds to what it scrapes."""

LESS_USEFUL = ("instance_type", "availability_zone")
"""Labels of machines that the queries do not keep. CloudWatch lists fewer contributors of an alarm
if they have many attributes."""

_LISTS = ("by", "on", "without", "ignoring", "group_left", "group_right")
_WORDS = (*_LISTS, "bool", "and", "or", "unless", "offset")

_PART = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*")
    |(?P<labels>\b(?:by|on|without|ignoring|group_left|group_right)\b\s*\([^()]*\))
    |(?P<selector>(?<![\w:.])[a-zA-Z_:][\w:]*(?![\w:])(?!\s*\()(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?
        (?:\[(?P<range>\w+)\])?(?:\s+offset\s+(?P<offset>\w+))?)
    """,
    re.VERBOSE,
)
_AGGREGATION = re.compile(r"\s+(?:by|without)\b")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*")')


class UntranslatableError(Exception):
    """The expression cannot be a query, for this reason."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Selector of series, with its range and offset."""

    name: str
    matchers: tuple[tuple[str, str, str], ...] = ()
    range: str = ""
    offset: str = ""

    def __str__(self) -> str:
        matchers = ",".join(map("".join, self.matchers))
        return (
            self.name
            + (f"{{{matchers}}}" if matchers else "")
            + (f"[{self.range}]" if self.range else "")
            + (f" offset {self.offset}" if self.offset else "")
        )


Part = str | Selector


def parse(expression: str) -> list[Part]:
    """Split an expression into its selectors and the text between them."""
    parts: list[Part] = []
    end = 0
    for found in _PART.finditer(expression):
        if not found["selector"] or _is_word(expression, found):
            continue
        parts += [expression[end : found.start()], _selector(found)]
        end = found.end()
    return [*parts, expression[end:]]


def metrics(query: str) -> set[str]:
    """Return the names of the metrics that an expression reads."""
    return {part.name for part in parse(query) if isinstance(part, Selector)}


def translate(expression: str, recorded: Mapping[str, str]) -> str:
    """Return the query for an expression, on one line.

    Recorded series are replaced by their expressions. Labels of targets become `IDENTITY`.

    Raises:
        UntranslatableError: the expression, or a recorded series, reads the past of one.
    """
    text = "".join(map(str, _expand(expression, recorded)))
    return re.sub(r"\(\s+|\s+\)|\s+", _one_space, _with_labels(text)).strip()


def _is_word(expression: str, found: re.Match[str]) -> bool:
    """Return whether this is an operator, a modifier, or the name of an aggregation."""
    name = found["selector"]
    return name in _WORDS or _AGGREGATION.match(expression, found.end()) is not None


def _selector(found: re.Match[str]) -> Selector:
    name, _, rest = found["selector"].partition("{")
    matchers = _MATCHER.findall(rest.rpartition("}")[0]) if rest else []
    if not rest:
        name = re.split(r"[\[\s]", name)[0]
    return Selector(
        name,
        tuple((label, operator, value) for label, operator, value in matchers),
        found["range"] or "",
        found["offset"] or "",
    )


def _expand(expression: str, recorded: Mapping[str, str]) -> Iterator[Part]:
    for part in parse(expression):
        if not isinstance(part, Selector):
            yield part
        elif part.name not in recorded:
            kept = tuple(each for each in part.matchers if each[0] not in OF_TARGETS)
            yield replace(part, matchers=kept)
        else:
            yield from _inline(part, _expand(recorded[part.name], recorded))


def _inline(selector: Selector, parts: Iterator[Part]) -> Iterator[Part]:
    """Yield the expression of a recorded series in place of its selector.

    The matchers go to the first selector, whose labels the expression keeps: all other operands are
    joined with it.
    """
    if selector.range:
        raise UntranslatableError(f"{selector.name}[{selector.range}] reads recorded values")
    matchers, offset = selector.matchers, selector.offset
    yield "("
    for part in parts:
        if isinstance(part, Selector):
            if offset and part.offset:
                raise UntranslatableError(f"{selector.name} would have two offsets")
            part = replace(part, matchers=(*part.matchers, *matchers), offset=part.offset or offset)
            matchers = ()
        yield part
    yield ")"


def _with_labels(query: str) -> str:
    """Replace the labels of targets in lists of labels."""
    return _PART.sub(lambda found: _labels(found) if found["labels"] else found[0], query)


def _labels(found: re.Match[str]) -> str:
    word, _, rest = found["labels"].partition("(")
    labels = [label.strip() for label in rest.rstrip(")").split(",") if label.strip()]
    if "instance" in labels and IDENTITY not in labels:
        labels[labels.index("instance")] = IDENTITY
    kept = ", ".join(label for label in labels if label not in (*OF_TARGETS, *LESS_USEFUL))
    return f"{word.strip()} ({kept})"


def _one_space(found: re.Match[str]) -> str:
    return found[0].strip() or " "
