"""A page read back: its elements by an HTML parser, its rows from the JSON within."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "input", "br", "link", "img"}


class Page(HTMLParser):
    """Elements, the table of rows, and the content of each script."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.lines: list[list[str]] = []
        self.heads: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self._in_rows = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements.append((tag, given))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((given, ""))
        if tag == "table":
            self._in_rows = given.get("id") == "table"
        if self._in_rows and tag == "tr":
            self.lines.append([])
        if self._in_rows and tag == "td":
            self.lines[-1].append("")
        if self._in_rows and tag == "th":
            self.heads.append("")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        if inside == "script":
            given, before = self.scripts[-1]
            self.scripts[-1] = (given, before + data)
        elif inside != "style":
            self.text += data
        if self._in_rows and "td" in self.open:
            self.lines[-1][-1] += data
        elif self._in_rows and inside == "th":
            self.heads[-1] += data

    @property
    def data(self) -> dict[str, Any]:
        (found,) = [content for given, content in self.scripts if given.get("id") == "data"]
        return dict(json.loads(found))
