"""Crossovers: the length from which one mechanism or model overtakes another that was faster before."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lbench.lengths import format_length
from lbench.ratios import unpaired
from lbench.report.tables import Cell, Line, Table


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """Two mechanisms or models by their quickest backends; within one, two backends."""

    slower: str
    """What is overtaken."""
    faster: str
    """What overtakes it."""
    before: int
    """The longest length at which the first was still faster."""
    after: int
    """The next length at which the other is."""
    about: float
    """Where the lines between the two lengths meet, on logarithmic axes."""
    backends: tuple[str, str]
    """Titles of the quickest backend of the first at `before`, of the other at `after`."""

    @property
    def short(self) -> str:
        """Without the backends."""
        return f"{self.faster} overtakes {self.slower} at about {_rounded(self.about)}"

    def __str__(self) -> str:
        between = f"between {format_length(self.before)} and {format_length(self.after)}"
        named = [
            f" ({title})" if title != name else ""
            for title, name in zip(reversed(self.backends), (self.faster, self.slower), strict=True)
        ]
        return (
            f"{self.faster}{named[0]} overtakes {self.slower}{named[1]} {between}, "
            f"at about {_rounded(self.about)}"
        )


_Point = tuple[Line, Cell]


def crossovers(table: Table) -> list[Crossover]:
    """All crossovers of a table of times, in the order of their lengths.

    A length counts where both differ, and where every backend that is the quickest of its
    mechanism or model at another length was tried.
    """
    curves = _curves(table)
    found = [
        one
        for first, second in itertools.combinations(curves, 2)
        for one in _between(first, second, curves, table.lengths)
    ]
    return sorted(found, key=lambda one: (one.about, one.faster, one.slower))


def _curves(table: Table) -> dict[str, list[_Point | None]]:
    """The quickest backend of each mechanism or model at each length; None where that cannot be said."""
    alone = len({line.group for line in table.lines}) == 1
    groups: dict[str, list[Line]] = {}
    for line in table.lines:
        groups.setdefault(line.title if alone else line.group, []).append(line)
    return {name: _curve(lines, len(table.lengths)) for name, lines in groups.items()}


def _curve(lines: Sequence[Line], count: int) -> list[_Point | None]:
    quickest = [_quickest(lines, column) for column in range(count)]
    winners = [point[0] for point in quickest if point]
    return [
        point if all(line.cells[column].verdict for line in winners) else None
        for column, point in enumerate(quickest)
    ]


def _quickest(lines: Sequence[Line], column: int) -> _Point | None:
    timed = [(line, line.cells[column]) for line in lines if line.cells[column].value > 0]
    return min(timed, key=lambda point: point[1].value, default=None)


def _between(
    first: str, second: str, curves: Mapping[str, Sequence[_Point | None]], lengths: Sequence[int]
) -> Iterator[Crossover]:
    told = [
        (length, one, other)
        for length, one, other in zip(lengths, curves[first], curves[second], strict=True)
        if one and other and _differ(one[1], other[1])
    ]
    for (before, *left), (after, *right) in itertools.pairwise(told):
        gaps = [math.log(one[1].value / other[1].value) for one, other in (left, right)]
        if gaps[0] * gaps[1] >= 0:
            continue
        share = gaps[0] / (gaps[0] - gaps[1])
        # The one whose time was below before is overtaken.
        slower, faster = (0, 1) if gaps[0] < 0 else (1, 0)
        names = (first, second)
        yield Crossover(
            slower=names[slower],
            faster=names[faster],
            before=before,
            after=after,
            about=before * (after / before) ** share,
            backends=(left[slower][0].title, right[faster][0].title),
        )


def _differ(one: Cell, other: Cell) -> bool:
    return unpaired((one.value, one.low, one.high), (other.value, other.low, other.high)).differs


def _rounded(length: float) -> str:
    """Two digits: 2.9k, 410k, 640."""
    digits = max(0, math.floor(math.log10(length)) - 1)
    if length < 1024:
        return f"{round(length, -digits):.0f}"
    return f"{length / 1024:.2g}k" if length < 100 * 1024 else f"{length / 1024:.0f}k"
