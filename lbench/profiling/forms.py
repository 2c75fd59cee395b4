"""The form of a profile's tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

WIDEST_NAME = 44
LEAST_NAME = 16
"""A name is cut to this, and no further than names differ, before a column is left out."""
BETWEEN = 2
"""Blanks that the table puts behind a column."""
FOLDED = ("configuration", "waits for", "call site", "of")
"""Columns of words, which go on below."""


class PlainTable:
    """A table without a frame, names to the left and figures to the right.

    Figures are never cut: where the terminal is too narrow, columns are left out from the right and named.
    """

    def __init__(self, head: Sequence[str]) -> None:
        self._head = tuple(head)
        self._rows: list[tuple[str | Text, ...]] = []

    def add_row(self, *cells: str | Text) -> None:
        """One cell a column."""
        self._rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        least = [self._least(number) for number in range(len(self._head))]
        shown = len(self._head)
        while shown > 1 and sum(least[:shown]) + BETWEEN * shown > options.max_width:
            shown -= 1
        yield self._table(shown, options.max_width - sum(least[1:shown]) - BETWEEN * shown)
        if left_out := self._head[shown:]:
            yield Text(f"a wider terminal shows {', '.join(filter(None, left_out))}", style="dim")

    def _least(self, number: int) -> int:
        """The width that a column must have: a name may be cut, and words go on below."""
        widest = self._widest(number)
        if number == 0:
            return self._least_name(widest)
        return min(widest, max(len(self._head[number]), LEAST_NAME)) if self._folds(number) else widest

    def _least_name(self, widest: int) -> int:
        """The width at which names that differ still do, the sign of a cut included."""
        names = {line for row in self._rows for line in str(row[0]).splitlines()[:1]}
        for width in range(min(widest, LEAST_NAME), min(widest, WIDEST_NAME)):
            if len({name if len(name) <= width else name[: width - 1] for name in names}) == len(names):
                return width
        return min(widest, WIDEST_NAME)

    def _widest(self, number: int) -> int:
        cells = [self._head[number], *(str(row[number]) for row in self._rows)]
        return max(len(line) for cell in cells for line in cell.splitlines() or [""])

    def _folds(self, number: int) -> bool:
        return self._head[number] in FOLDED[:-1]

    def _table(self, shown: int, for_names: int) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for number, name in enumerate(self._head[:shown]):
            if number == 0:
                width = min(self._widest(0), WIDEST_NAME, max(for_names, self._least(0)))
                table.add_column(name, no_wrap=True, overflow="ellipsis", width=width)
            elif self._folds(number):
                table.add_column(name, overflow="fold")
            else:
                side: Any = "left" if name in FOLDED else "right"
                table.add_column(name, justify=side, no_wrap=True, width=self._least(number))
        for row in self._rows:
            table.add_row(*row[:shown])
        return table


def indented(text: str | Text, by: int = 2) -> Padding:
    """Text whose further lines stand where its first one does."""
    return Padding(text, (0, 0, 0, by), expand=False)


def percent(share: float | None) -> str:
    """A share in percent; empty where it is not known."""
    return "" if share is None else f"{share:.0%}"


def or_empty(value: Any) -> str:
    """A figure as text; empty where it is not known."""
    return "" if value is None else str(value)
