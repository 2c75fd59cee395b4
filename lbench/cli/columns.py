"""Plain columns in the width at hand: what has no room goes on a line of its own, nothing is cut."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from lbench.terminal import fold

INDENT = 4 * " "
GAP = 2 * " "


def fitted(lines: Sequence[tuple[str, ...]], left: int, width: int) -> Iterator[str]:
    """Cells in columns, the first `left` aligned left, the others right, and the last, a note, as it is.

    A note that has no room is wrapped below; a first cell that has none stands above its line, in full.
    """
    *sizes, _ = (max(map(len, column)) for column in zip(*lines, strict=True))
    room = width - sum(sizes[1:]) - len(GAP) * len(sizes[1:])
    sizes[0] = max((len(line[0]) for line in lines if len(line[0]) <= room), default=len(INDENT))
    for first, *cells, note in lines:
        if len(first) > sizes[0]:
            yield from fold(first, width, indent=INDENT)
            first = ""
        shown = GAP.join(
            cell.ljust(size) if place < left else cell.rjust(size)
            for place, (cell, size) in enumerate(zip((first, *cells), sizes, strict=True))
        )
        if len(whole := f"{shown}{GAP}{note}".rstrip()) <= width:
            yield whole
        else:
            yield shown.rstrip()
            yield from textwrap.wrap(note, width, initial_indent=INDENT, subsequent_indent=INDENT)
