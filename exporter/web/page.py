"""A plain page about the exporter: what it is, how it is, and where its metrics are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

Facts = Mapping[str, Mapping[str, str]]

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 48rem; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
th, td { padding: .25rem .5rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent) }
th { font-weight: 500; width: 16rem } td { overflow-wrap: anywhere }
"""


def render(sections: Facts, links: Sequence[str]) -> bytes:
    """The page with these facts, a table for each section, and links. All text is escaped."""
    paths = " · ".join(f'<a href="{escape(link)}">{escape(link)}</a>' for link in links)
    tables = "".join(
        f"<h2>{escape(title)}</h2><table>"
        + "".join(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
            for name, value in facts.items()
        )
        + "</table>"
        for title, facts in sections.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="refresh" content="5">'
        f"<title>Neuron Exporter</title><style>{_STYLE}</style></head><body>"
        "<h1>Neuron Exporter</h1>"
        f"<p>{paths}</p>{tables}</body></html>\n"
    ).encode(errors="replace")
