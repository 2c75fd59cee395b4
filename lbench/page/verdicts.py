"""The verdict of each source, as every format of the report shows it."""

from __future__ import annotations

from dataclasses import dataclass

from lbench.report.crossovers import crossovers
from lbench.report.sources import Source
from lbench.report.summary import Counts, Fastest, Reach, counts, fastest, in_words, reaches
from lbench.report.tables import Table, tables


@dataclass(frozen=True, kw_only=True)
class Part:
    """One pass in one condition."""

    table: Table
    fastest: tuple[Fastest, ...]
    words: tuple[tuple[str, str], ...]
    """(backend, the lengths at which it is the fastest)."""
    crossovers: tuple[str, ...]
    reaches: tuple[Reach, ...]

    @property
    def sentence(self) -> str:
        """Who is fastest where; empty where no row has a time."""
        told = "; ".join(f"{name} {lengths}" for name, lengths in self.words)
        return f"Fastest: {told}." if told else ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One source."""

    label: str
    counts: Counts
    parts: tuple[Part, ...]


def verdict(source: Source) -> Verdict:
    """What its rows say."""
    made = tables(source.rows, "ns_per_token")
    return Verdict(label=source.label, counts=counts(source.rows), parts=tuple(map(_part, made)))


def _part(table: Table) -> Part:
    first = fastest(table)
    return Part(
        table=table,
        fastest=tuple(first),
        words=tuple(in_words(first)),
        crossovers=tuple(map(str, crossovers(table))),
        reaches=tuple(reaches(table)),
    )
