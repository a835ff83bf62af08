"""The page: facts of other people's making, shown and never believed."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from exporter.web.page import render

NASTY = "\"><script>alert(1)</script><b title='x'>&amp;"


class Read(HTMLParser):
    """What a browser makes of a page: its elements, and the text of its cells."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.links: list[str | None] = []
        self.cells: list[str] = []
        self._in_cell = False
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append(tag)
        self.links += [value for name, value in attrs if name == "href"]
        self._in_cell = tag in ("th", "td")
        if self._in_cell:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        """Note that a cell has ended."""
        self._in_cell = self._in_cell and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        """Note text."""
        if self._in_cell:
            self.cells[-1] += data


def test_every_fact_stands_in_its_section() -> None:
    """A section is a table, a fact a line of it, in the order in which they were given."""
    page = Read(render({"Source": {"state": "ok", "age": "3 s"}, "Machine": {}}, ["metrics"]))
    assert page.cells == ["state", "ok", "age", "3 s"]
    assert page.elements.count("table") == 2
    assert page.links == ["metrics"]


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=4))
def test_no_text_is_anything_but_text(facts: dict[str, str]) -> None:
    """Names and values from the stream are escaped: none becomes an element of the page."""
    plain = Read(render({"a": dict.fromkeys(map(str, range(len(facts))), "b")}, []))
    page = Read(render({NASTY: facts}, []))
    assert page.elements == plain.elements
    page = Read(render({"a": {NASTY: NASTY, **facts}}, [NASTY]))
    assert page.elements.count("script") == 0
    assert NASTY in page.cells
    assert page.links == [NASTY]
