"""A source in a terminal: counts, who is fastest, a sparkline a backend, failures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lbench.errors import UsageError
from lbench.lengths import format_length
from lbench.report.compared import compared_tables
from lbench.report.crossovers import crossovers
from lbench.report.failures import failures
from lbench.report.sources import Source
from lbench.report.sparklines import bars_for, sparkline
from lbench.report.summary import counts, fastest, in_words
from lbench.report.tables import Cell, Line, Table, number
from lbench.terminal import fold

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

NARROW = 60
"""Below this width a line has name and sparkline alone."""
ENDS_WIDTH = 20
"""Columns of text that the first and the last value take."""
WIDEST_NAME = 36


def print_overview(source: Source, console: Console) -> None:
    """Prints it no wider than the console; labels are shown as they are, never read as markup."""
    from rich.text import Text

    console.print(Text(_spoken(source.label, console), style="bold"))
    known = counts(source.rows)
    console.print(Text(known.sentence))
    for line in known.advice:
        console.print(Text(f"doubt: {line}", style="yellow"))
    for table in _compared(source, console):
        console.print()
        _print_table(table, console)
    found = failures(source.rows.to_dict("records"))
    if found:
        console.print()
        console.print(Text("failures", style="bold red"))
    for told, command in found:
        console.print(Text(_spoken(told, console)))
        console.print(Text(f"    {_spoken(command, console)}", style="dim"), soft_wrap=True)  # to be copied


def _compared(source: Source, console: Console) -> list[Table]:
    """The tables; none where no row was timed, as `lbench verify` times none, which is said."""
    try:
        return compared_tables(source.rows, "ns_per_token")
    except UsageError as error:
        for line in fold(_spoken(str(error), console), console.width):
            console.print(line, markup=False, soft_wrap=True)
        return []


def _print_table(table: Table, console: Console) -> None:
    from rich.text import Text

    ends = " to ".join(
        dict.fromkeys(format_length(length) for length in (table.lengths[0], table.lengths[-1]))
    )
    heading = f"{table.title.partition(':')[0]}: time per token, {ends}"
    console.print(Text(_spoken(heading, console), style="bold"))
    console.print(Text(_spoken(table.setting, console), style="dim"))
    words = "; ".join(f"{name} {lengths}" for name, lengths in in_words(fastest(table)))
    if words:
        console.print(Text(_spoken(f"fastest: {words}", console)))
    if found := crossovers(table):
        told = "; ".join(one.short for one in found)
        console.print(Text(_spoken(f"crossovers: {told}", console)))
    console.print(_lines(table, console))


def _lines(table: Table, console: Console) -> RichTable:
    from rich.table import Table as RichTable
    from rich.text import Text

    values = [cell.value for line in table.shown for cell in line.cells if cell.value > 0]
    low, high = min(values, default=1.0), max(values, default=1.0)
    wide = console.width >= NARROW
    made = RichTable(box=None, show_header=wide, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    room = console.width - len(table.lengths) - 2 - (ENDS_WIDTH if wide else 0)
    # Cropped, not cut with an ellipsis: that has no ASCII.
    made.add_column("backend", no_wrap=True, overflow="crop", max_width=max(min(room, WIDEST_NAME), 8))
    made.add_column("", no_wrap=True, overflow="crop")
    for name in ("first, ns", "last, ns") if wide else ():
        made.add_column(name, justify="right", no_wrap=True, overflow="crop")
    bars = bars_for(console.encoding)
    for line in table.shown:
        drawn = sparkline([_drawn(cell) for cell in line.cells], low, high, bars)
        made.add_row(
            Text(_spoken(line.title, console)), Text(drawn, style="cyan"), *(_ends(line) if wide else ())
        )
    return made


def _drawn(cell: Cell) -> float | None:
    return cell.value if cell.verdict else None


def _ends(line: Line) -> tuple[str, str]:
    """The values of the shortest and the longest length done; what ended it where that was no value."""
    done = [cell.value for cell in line.cells if not math.isnan(cell.value)]
    tried = [cell for cell in line.cells if cell.verdict]
    last = tried[-1].text if tried and math.isnan(tried[-1].value) else ""
    return (number(done[0]), last or number(done[-1])) if done else ("", last)


def _spoken(text: str, console: Console) -> str:
    """The text as the console's encoding can show it, without control characters that would steer it."""
    clean = "".join(letter if letter.isprintable() else " " for letter in text)
    return clean.encode(console.encoding, errors="replace").decode(console.encoding)
