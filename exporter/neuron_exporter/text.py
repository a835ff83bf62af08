"""Text that others have written, made fit for labels and for the log."""

from __future__ import annotations

import re

LONGEST = 255
"""Characters: a label's value longer than this is nobody's name, and CloudWatch takes no more of a
dimension's value than four times that."""

_USER = re.compile(r"(?<=://)[^/\s]+@")
_UNFIT = "\N{REPLACEMENT CHARACTER}"


def clean(text: str, longest: int = LONGEST) -> str:
    """The text on one line, without what a terminal or an exposition could take for its own.

    Control characters, line separators and marks that turn the direction of writing are replaced.
    """
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _UNFIT for char in text)


def hide_users(text: str) -> str:
    """A text whose addresses have `***` where name and password stood."""
    return _USER.sub("***@", text)
