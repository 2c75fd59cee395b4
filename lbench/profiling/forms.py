"""The form of a profile's tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

WIDEST_NAME = 44


def plain_table(head: Sequence[str]) -> Table:
    """A table without a frame, names to the left and figures to the right."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for number, name in enumerate(head):
        if number == 0:
            table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=WIDEST_NAME)
        else:
            left = name in ("configuration", "waits for", "call site", "of")
            table.add_column(name, justify="left" if left else "right", overflow="fold", no_wrap=not left)
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
