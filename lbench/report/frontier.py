"""Frontiers as a table: the longest length of every backend, a block a pass and setting."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from lbench import results
from lbench.errors import UsageError, unknown
from lbench.frontier import Frontier, over_lengths
from lbench.lengths import format_length, parse_length
from lbench.prediction import gib
from lbench.report.choices import load, select
from lbench.report.wording import MEANINGS, PASS_TITLES, rank, title
from lbench.results import Row
from lbench.terminal import ENDLESS

BELOW = " " * 6


def setting(frontier: Frontier) -> str:
    """Pass, batch, heads and dtype, as a heading shows them."""
    case = frontier.case
    heads = case.model_setting or f"{case.heads} heads \u00d7 {case.head_dim}"
    return f"{PASS_TITLES[case.pass_name]}, batch {case.batch}, {heads}, {case.dtype}, {case.device}"


def rows_of(folder: Path, axes: Mapping[str, Sequence[str]]) -> list[Row]:
    """The rows of a folder that the axes take, of settings over more than one length.

    UsageError for a value that no row has.
    """
    frame = select(load([folder]), axes.get("backend", ()), axes.get("pass", ()))
    for axis in axes.keys() - {"backend", "pass"}:
        whole = frame[axis].dtype.kind == "i"
        has = frame[axis].map(format_length if whole else str)
        wanted = [
            format_length(parse_length(value)) if whole and value != "0" else value for value in axes[axis]
        ]
        for value in wanted:
            if value not in set(has):
                raise unknown(f"{axis} in these results", value, has)
        frame = frame[has.isin(wanted)]
    keys = set(frame["key"])
    rows = over_lengths(row for row in results.read(folder).rows.values() if row.case.key in keys)
    if not rows:
        raise UsageError(f"{folder} has no such setting with two lengths or more, which a frontier needs")
    return rows


def by_setting(found: Sequence[Frontier]) -> list[tuple[str, list[Frontier]]]:
    """Frontiers that may be compared, those of a mechanism together, the farthest first."""
    ordered = sorted(
        found,
        key=lambda one: (setting(one), rank("", one.case.mechanism)[:2], -one.longest, one.case.backend),
    )
    return [(name, list(group)) for name, group in itertools.groupby(ordered, key=setting)]


def ended(frontier: Frontier) -> str:
    """What ended it, in words."""
    if frontier.beyond is None:
        return "no end found"
    return f"{MEANINGS.get(frontier.verdict, frontier.verdict)} at {format_length(frontier.beyond)}"


def to_text(found: Sequence[Frontier], width: int = ENDLESS) -> str:
    """A block a setting, a line a backend: mechanism, backend, longest length, its memory, what ended it.

    What ended it goes on below where it has no room.
    """
    blocks = []
    for name, group in by_setting(found):
        lines = [
            (one.case.mechanism, title(one.case.backend), _longest(one), gib(one.memory_bytes), ended(one))
            for one in group
        ]
        head = ("mechanism", "backend", "longest", "memory", "ended by")
        widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
        table = [text for line in (head, *lines) for text in _line(line, widths, width)]
        title_lines = textwrap.wrap(name[:1].upper() + name[1:], width)
        blocks.append("\n".join([*title_lines, *table]) + "\n")
    return "\n".join(blocks)


def _longest(frontier: Frontier) -> str:
    if not frontier.longest:
        return "none"
    return ("" if frontier.beyond else ">= ") + format_length(frontier.longest)


def _line(words: Sequence[str], widths: Sequence[int], width: int) -> list[str]:
    left = [word.ljust(width) for word, width in zip(words[:2], widths, strict=False)]
    right = [word.rjust(width) for word, width in zip(words[2:4], widths[2:4], strict=True)]
    first = "  " + "  ".join([*left, *right]) + "  "
    if len(first) + len(words[4]) <= width:
        return [first + words[4]]
    return [first.rstrip(), *textwrap.wrap(words[4], width, initial_indent=BELOW, subsequent_indent=BELOW)]
