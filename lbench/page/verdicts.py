"""The verdict of each source, as every format of the report shows it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from lbench.report.compared import compared_tables
from lbench.report.crossovers import crossovers
from lbench.report.failures import failures
from lbench.report.sources import Source
from lbench.report.summary import Counts, Fastest, Reach, counts, fastest, in_words, reaches
from lbench.report.tables import Table

TIME = "ns_per_token"


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
    """What its rows say; of rows that were only verified, their errors."""
    made = compared_tables(source.rows, TIME, "error_rms")
    return Verdict(label=source.label, counts=counts(source.rows), parts=tuple(map(_part, made)))


def as_json(source: Source) -> dict[str, Any]:
    """The verdict and the failures as JSON takes them; what has no value is null."""
    told = dataclasses.asdict(verdict(source))
    failed = failures(source.rows.to_dict("records"), every=True)
    return {**_plain(told), "failures": [{"what": what, "reproduce": line} for what, line in failed]}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value.item() if hasattr(value, "item") else value


def _part(table: Table) -> Part:
    timed = table.metric == TIME
    first = fastest(table) if timed else []
    return Part(
        table=table,
        fastest=tuple(first),
        words=tuple(in_words(first)),
        crossovers=tuple(map(str, crossovers(table))) if timed else (),
        reaches=tuple(reaches(table)),
    )
