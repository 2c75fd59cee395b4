"""Prose no wider than the terminal.

Commands to copy are no prose: they stay on a line, which the terminal itself wraps.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from typing import TextIO

ENDLESS = 1 << 20
LEAST = 40
HELD = "\0"
IN_ONE_PIECE = re.compile(r"`[^`\n]*`|\bpip install [^;,`\n]*|(?<=\d) %")
"""What no line ends within: commands, and a number with its sign."""


def columns(stream: TextIO | None = None) -> int:
    """Columns of a stream, by default standard output: those of COLUMNS, or of the terminal it writes to.

    Elsewhere there is no end: a line each, for other programs.
    """
    stream = stream or sys.stdout
    if (given := os.environ.get("COLUMNS", "")).isdigit():
        return max(int(given), LEAST)
    return max(os.get_terminal_size(stream.fileno()).columns, LEAST) if stream.isatty() else ENDLESS


def wrapped(text: str, stream: TextIO | None = None, first: str = "", indent: str = "") -> list[str]:
    """A text as lines no wider than the stream, the first behind `first` and the others behind `indent`."""
    return fold(text, columns(stream), first, indent)


def fold(text: str, width: int, first: str = "", indent: str = "") -> list[str]:
    """A text as lines no wider than that; commands in it stay in one piece."""
    held = IN_ONE_PIECE.sub(lambda found: found[0].replace(" ", HELD), text)
    lines: list[str] = []
    for part in held.split("\n"):
        lines += textwrap.wrap(
            part,
            width,
            initial_indent=indent if lines else first,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    return [line.replace(HELD, " ") for line in lines]


def tell(text: str, stream: TextIO | None = None, first: str = "", indent: str = "") -> None:
    """Prints a text no wider than the stream."""
    print("\n".join(wrapped(text, stream, first, indent)), file=stream or sys.stdout, flush=True)


def counted(count: int, noun: str) -> str:
    """`1 row`, `2 rows`, `3 processes`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{'es' if noun.endswith('s') else 's'}"
