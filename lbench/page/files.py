"""Formats of the report by name, and writing one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lbench.errors import UsageError, unknown
from lbench.report.sources import Source

SUFFIXES = {"html": "html", "markdown": "md", "pdf": "pdf", "latex": "tex"}
"""What a file of each format is called."""
ENDINGS = (
    {suffix: name for name, suffix in SUFFIXES.items()} | {name: name for name in SUFFIXES} | {"htm": "html"}
)
"""What a name may end in, and the format that it says."""


def kind_of(format_name: str | None, out: Path | None) -> str:
    """The format asked for, else what the name ends in; HTML without either. UsageError for another."""
    if format_name is not None:
        if format_name not in SUFFIXES:
            raise unknown("format", format_name, SUFFIXES)
        return format_name
    if out is None:
        return "html"
    ending = out.suffix.removeprefix(".").lower()
    if ending not in ENDINGS:
        allowed = ", ".join(f".{suffix}" for suffix in SUFFIXES.values())
        raise UsageError(f"{out.name} does not end in a format ({allowed}); choose one with --format")
    return ENDINGS[ending]


def size_text(count: int) -> str:
    """So many bytes, as a person says it."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


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
