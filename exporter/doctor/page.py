"""The facts on a running exporter's page: reasons, which metrics do not tell."""

from __future__ import annotations

import re
from html import unescape

_SECTION = re.compile(r"<h2>([^<]*)</h2><table>(.*?)</table>", re.DOTALL)
_FACT = re.compile(r'<th scope="row">([^<]*)</th><td>([^<]*)</td>')


def read(page: bytes) -> dict[str, dict[str, str]]:
    """What the page says, by section and name; what it does not say is not there."""
    text = page.decode("utf-8", "replace")
    return {
        unescape(title): {unescape(name): unescape(value) for name, value in _FACT.findall(table)}
        for title, table in _SECTION.findall(text)
    }
