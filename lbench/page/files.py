"""Formats of the report by name, and writing one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lbench.errors import UsageError, unknown
from lbench.report.sources import Source

SUFFIXES = {"html": "html", "markdown": "md", "pdf": "pdf", "latex": "tex"}
"""What a file of each format is called."""


def kind_of(format_name: str | None, out: Path | None) -> str:
    """The format asked for, else the one that the file's name says, else HTML. UsageError for another."""
    if format_name is not None:
        if format_name not in SUFFIXES:
            raise unknown("format", format_name, SUFFIXES)
        return format_name
    named = {suffix: name for name, suffix in SUFFIXES.items()}
    return named.get(out.suffix.removeprefix(".").lower(), "html") if out else "html"


def make(sources: Sequence[Source], kind: str) -> bytes:
    """The report in one format."""
    if kind == "html":
        from lbench.page.render import html

        return html(sources).encode()
    if kind == "pdf":
        from lbench.page.pdf import pdf

        return pdf(sources)
    from lbench.page.text import latex, markdown

    return (markdown if kind == "markdown" else latex)(sources).encode()


def write(content: bytes, path: Path) -> None:
    """Writes the file. UsageError where it cannot."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another --out") from error
