"""The verdict of a sweep in few words: who is fastest where, who gets how far, what failed or is in doubt."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pandas as pd

from lbench.doubts import advice
from lbench.lengths import format_length
from lbench.report.tables import Line, Table
from lbench.terminal import counted


@dataclass(frozen=True, kw_only=True)
class Fastest:
    """The quickest backend of one length."""

    length: int
    backend: str
    mechanism: str
    title: str
    time: float
    """In the metric of the table it was found in."""
    tied: tuple[str, ...]
    """Titles of those that cannot be told from it."""
    timed: int
    """Backends that have a time at this length."""
    without: tuple[str, ...] = ()
    """Titles of those that win at other lengths and were not tried at this one."""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far one backend gets."""

    backend: str
    mechanism: str
    title: str
    longest: int
    """The longest length that is `ok`."""
    beyond: int
    """The shortest length tried above it; 0 where there is none."""
    verdict: str
    """How that one ended; empty where there is none."""
    growth: float
    """The value at the longest length over the least at any: 1 did not grow. NaN where there is but one."""

    def __str__(self) -> str:
        beyond = f"; {format_length(self.beyond)}: {self.verdict.replace('_', ' ')}" if self.beyond else ""
        return f"{self.title} reaches {format_length(self.longest)}{beyond}"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How the rows of a sweep ended."""

    rows: int
    verdicts: tuple[tuple[str, int], ...]
    """The most frequent first."""
    doubted: int
    """Rows that are `ok` and have a doubt."""
    advice: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """All of it but the advice."""
        parts = [f"{count} {verdict.replace('_', ' ')}" for verdict, count in self.verdicts]
        return f"{counted(self.rows, 'row')}: {', '.join(parts)}; {self.doubted} with a doubt"


def counts(frame: pd.DataFrame) -> Counts:
    """Rows by verdict, and what their doubts say."""
    doubts = [tuple(text.split("; ")) for text in frame["doubts"].fillna("") if text]
    return Counts(
        rows=len(frame),
        verdicts=tuple(Counter(frame["verdict"]).most_common()),
        doubted=len(doubts),
        advice=tuple(advice(doubts)),
    )


def fastest(table: Table) -> list[Fastest]:
    """The quickest of each length of a table of times; lengths without a time are left out."""
    first = [one for column in range(len(table.lengths)) if (one := _fastest(table, column))]
    winners = {one.title for one in first}
    return [
        dataclasses.replace(one, without=_untried(table, one.length, winners - {one.title})) for one in first
    ]


def _fastest(table: Table, column: int) -> Fastest | None:
    cells = [(line, line.cells[column]) for line in table.lines]
    timed = [(line, cell) for line, cell in cells if not math.isnan(cell.value)]
    if not timed:
        return None
    best, cell = min(timed, key=lambda one: one[1].value)
    return Fastest(
        length=table.lengths[column],
        backend=best.backend,
        mechanism=best.mechanism,
        title=best.title,
        time=cell.value,
        tied=tuple(line.title for line, one in timed if line is not best and not math.isnan(one.could_see)),
        timed=len(timed),
    )


def _untried(table: Table, length: int, winners: Collection[str]) -> tuple[str, ...]:
    column = table.lengths.index(length)
    lines = [line for line in table.lines if line.title in winners]
    return tuple(line.title for line in lines if not line.cells[column].verdict)


def in_words(found: Sequence[Fastest]) -> list[tuple[str, str]]:
    """(title, lengths) of neighbouring lengths that one backend wins: `4k to 256k`.

    One that cannot be told from others is named with them. Lengths at which a winner of another
    length was not tried crown nobody: they are left out, unless all are.
    """
    told = []
    fair = [one for one in found if not one.without] or found
    for _, group in itertools.groupby(fair, key=lambda one: (one.title, one.tied)):
        part = list(group)
        ends = dict.fromkeys(format_length(one.length) for one in (part[0], part[-1]))
        tied = f" (not told from {', '.join(part[0].tied)})" if part[0].tied else ""
        told.append((part[0].title, " to ".join(ends) + tied))
    return told


def reaches(table: Table) -> list[Reach]:
    """How far each backend of a table gets; those that could run at no length are left out."""
    return [_reach(line, table.lengths) for line in table.lines if _lengths_ok(line, table.lengths)]


def _lengths_ok(line: Line, lengths: Sequence[int]) -> list[int]:
    return [length for length, cell in zip(lengths, line.cells, strict=True) if cell.verdict == "ok"]


def _reach(line: Line, lengths: Sequence[int]) -> Reach:
    longest = _lengths_ok(line, lengths)[-1]
    tried = zip(lengths, line.cells, strict=True)
    beyond = [(length, cell.verdict) for length, cell in tried if length > longest and cell.verdict]
    values = [cell.value for cell in line.cells if not math.isnan(cell.value) and cell.value > 0]
    return Reach(
        backend=line.backend,
        mechanism=line.mechanism,
        title=line.title,
        longest=longest,
        beyond=beyond[0][0] if beyond else 0,
        verdict=beyond[0][1] if beyond else "",
        growth=values[-1] / min(values) if len(values) > 1 else math.nan,
    )
