"""The frontier: the longest sequence that a backend can do before the memory ends, found by bisection.

Lengths double from a start until one does not fit, then the gap between the longest that fits and the
shortest that does not is halved until it is within a share of its end. A length that ends in any other way
than `ok` or out of memory (over the time limit, wrong, not supported) bounds the frontier too, and says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lbench.case import Case
from lbench.results import Row

START = 1024
RESOLUTION = 1 / 16
"""Share of the shortest length that does not fit, within which the longest that does must be."""
STEP = 64
"""Lengths tried are multiples of this."""
NO_BOUND = frozenset({"unsupported", "unavailable"})
"""Verdicts that say nothing about length where the first one tried has them."""


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """Where one backend's pass ends, in one setting."""

    case: Case
    """The case at the longest length; any of its lengths where none was `ok`."""
    longest: int
    """The longest length that is `ok`; 0 where none is."""
    beyond: int | None
    """The shortest length tried above it; None where no length was refused."""
    verdict: str
    """How that length ended: out_of_memory, timeout ...; empty where none was refused."""
    memory_bytes: float
    """Inputs and peak at the longest length."""

    @property
    def is_memory(self) -> bool:
        """Whether it was the memory that ended it."""
        return self.verdict == "out_of_memory"


def search(
    case: Case,
    measure: Callable[[Case], Row],
    *,
    start: int = START,
    largest: int,
    resolution: float = RESOLUTION,
) -> Iterator[Row]:
    """Measures lengths until the frontier of `case` is known; the rows as they come, each length once."""
    fits, refused = 0, None
    length = start
    while True:
        row = measure(dataclasses.replace(case, seq_len=length))
        yield row
        if row.verdict == "ok":
            fits = length
        elif not fits and row.verdict in NO_BOUND:
            return
        else:
            refused = length
        if refused is None:
            if length >= largest:
                return
            length = min(2 * length, largest)
            continue
        gap = refused - fits
        if gap <= STEP or gap <= resolution * refused:
            return
        length = fits + max(round(gap / 2 / STEP), 1) * STEP
        if length in (fits, refused):
            return


def frontiers(rows: Iterable[Row]) -> list[Frontier]:
    """The frontier of every backend, pass and setting among rows, also of sweeps run for their times.

    Ordered as the rows are. Backends that could run nowhere are left out.
    """
    series: dict[Case, list[Row]] = {}
    for row in rows:
        if row.verdict != "unavailable":
            series.setdefault(dataclasses.replace(row.case, seq_len=1), []).append(row)
    return [found for group in series.values() if (found := _of(group)) is not None]


def over_lengths(rows: Iterable[Row]) -> list[Row]:
    """The rows of settings in which more than one length was tried; one alone says nothing of an end."""
    kept = list(rows)
    lengths: dict[Case, set[int]] = {}
    for row in kept:
        lengths.setdefault(_setting(row.case), set()).add(row.case.seq_len)
    return [row for row in kept if len(lengths[_setting(row.case)]) > 1]


def _setting(case: Case) -> Case:
    return dataclasses.replace(case, seq_len=1, backend="", mechanism="")


def _of(rows: list[Row]) -> Frontier | None:
    right = [row for row in rows if row.verdict == "ok"]
    longest = max(right, key=lambda row: row.case.seq_len, default=None)
    least = longest.case.seq_len if longest else 0
    refused = [row for row in rows if row.verdict != "ok" and row.case.seq_len > least]
    first = min(refused, key=lambda row: row.case.seq_len, default=None)
    if longest is None and (first is None or first.verdict in NO_BOUND):
        return None
    case = (longest or rows[0]).case
    memory = longest.memory if longest else {}
    return Frontier(
        case=case,
        longest=least,
        beyond=first.case.seq_len if first else None,
        verdict=first.verdict if first else "",
        memory_bytes=memory.get("inputs", 0) + memory.get("peak", 0),
    )
