"""Tables as text: for a terminal, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from lbench.lengths import format_length
from lbench.report.tables import Line, Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

WIDEST_NAME = 36


def print_rich(tables: Sequence[Table], console: Console) -> None:
    """Prints tables no wider than the console; lengths that do not fit go on below."""
    from rich.text import Text

    for number, table in enumerate(tables):
        if number:
            console.print()
        console.print(Text(table.title, style="bold"))
        console.print(Text(table.setting, style="dim"))
        for columns in _blocks(table, console.width):
            console.print(_rich_block(table, columns, mark=not console.is_terminal))
        notes = [table.legend, "" if console.is_terminal else "*: best"]
        console.print(Text("; ".join(filter(None, notes)), style="dim"))
        for told, command in table.failures:
            console.print(Text(told, style="dim"))
            console.print(Text(f"    {command}", style="dim"), soft_wrap=True)  # to be copied


def to_markdown(tables: Sequence[Table]) -> str:
    """GitHub's tables, the best in `**`."""
    parts = []
    for table in tables:
        head = [table.of, "backend", *map(format_length, table.lengths)]
        lines = [_pipe(head), _pipe(["---", "---", *["---:"] * len(table.lengths)])]
        for line in table.shown:
            cells = [_bold(cell.text, "**", "**") if cell.best else cell.text for cell in line.cells]
            lines.append(_pipe([escape_markdown(line.group), escape_markdown(line.title), *cells]))
        notes = [table.legend, ""] + [
            f"- {escape_markdown(told)}: {_code(command)}" for told, command in table.failures
        ]
        title = f"**{escape_markdown(table.title)}** ({escape_markdown(table.setting)})"
        parts.append("\n".join([title, "", *lines, "", *notes]).strip() + "\n")
    return "\n".join(parts)


def to_csv(tables: Sequence[Table]) -> str:
    """One header, one line a backend and table; values in full, verdicts where there is none."""
    lengths = sorted({length for table in tables for length in table.lengths})
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["metric", "setting", "condition", "pass", "model", "mechanism", "backend", *lengths])
    for table in tables:
        for line in table.lines:
            by_length = dict(zip(table.lengths, line.cells, strict=True))
            cells = [by_length.get(length) for length in lengths]
            texts = ["" if c is None else c.verdict if math.isnan(c.value) else repr(c.value) for c in cells]
            where = [table.metric, table.setting, table.condition, table.pass_name]
            writer.writerow([*where, line.model, line.mechanism, line.backend, *texts])
    return file.getvalue()


def to_latex(tables: Sequence[Table]) -> str:
    """One `table` environment each; needs the package booktabs."""
    return "\n".join(["% \\usepackage{booktabs}", *map(_latex_table, tables)])


def _latex_table(table: Table) -> str:
    head = " & ".join(["", *map(format_length, table.lengths)])
    caption = ". ".join(filter(None, [table.title, table.setting, table.legend]))
    lines = [
        "\\begin{table}",
        f"\\caption{{{escape_latex(caption)}.}}",
        "\\centering\\small",
        f"\\begin{{tabular}}{{l{'r' * len(table.lengths)}}}",
        "\\toprule",
        f"{head} \\\\",
    ]
    for name, group in _groups(table):
        lines += ["\\midrule", f"\\emph{{{escape_latex(name)}}}{' &' * len(table.lengths)} \\\\"]
        for line in group:
            cells = [escape_latex(cell.text) for cell in line.cells]
            marked = [
                _bold(t, "\\textbf{", "}") if c.best else t for t, c in zip(cells, line.cells, strict=True)
            ]
            lines.append(" & ".join([escape_latex(line.title), *marked]) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}", "\\end{table}", ""]
    return "\n".join(lines)


def _rich_block(table: Table, columns: slice, mark: bool) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    block = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    block.add_column("", no_wrap=True, max_width=WIDEST_NAME, overflow="ellipsis")
    for length in table.lengths[columns]:
        block.add_column(format_length(length), justify="right", no_wrap=True)
    for name, group in _groups(table):
        block.add_row(Text(name, style="italic"))
        for line in group:
            cells = [
                Text(
                    cell.text + ("*" if cell.best and mark else ""),
                    style="bold" if cell.best else "" if cell.verdict == "ok" else "dim",
                )
                for cell in line.cells[columns]
            ]
            block.add_row(Text(f" {line.title}"), *cells)
    return block


def _blocks(table: Table, width: int) -> Iterator[slice]:
    """Columns by as many as fit beside the names, evenly."""
    name = min(max((len(line.title) + 1 for line in table.shown), default=0), WIDEST_NAME)
    texts = [cell.text for line in table.shown for cell in line.cells] + [*map(format_length, table.lengths)]
    cell = max(map(len, texts), default=0) + 2
    fitting = max(1, (width - name - 1) // cell)
    blocks = math.ceil(len(table.lengths) / fitting)
    size = math.ceil(len(table.lengths) / blocks)
    for start in range(0, len(table.lengths), size):
        yield slice(start, start + size)


def _groups(table: Table) -> Iterator[tuple[str, Iterator[Line]]]:
    return itertools.groupby(table.shown, key=lambda line: line.group)


def _bold(text: str, before: str, after: str) -> str:
    return f"{before}{text}{after}"


def _pipe(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _code(text: str) -> str:
    """A code span that no backtick in the text ends."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{_one_line(text)}{pad}{fence}"


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def escape_markdown(text: str) -> str:
    """A text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", _one_line(text))


def escape_latex(text: str) -> str:
    """A text that LaTeX shows as it is."""
    return re.sub(r"[\\&%$#_{}~^\u00d7<>|]", lambda found: _LATEX[found[0]], _one_line(text))


_LATEX: dict[str, str] = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\u00d7": r"$\times$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{symbol: f"\\{symbol}" for symbol in "&%$#_{}"},
}

FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "markdown": to_markdown,
    "csv": to_csv,
    "latex": to_latex,
}
"""Formats that are plain text; `rich` needs a console."""
