"""The same cases in several sources: across GPUs, commits or machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from lbench.ratios import Ratio
from lbench.report.sources import Source
from lbench.report.ties import ratio_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Across:
    """One case in every source."""

    key: str
    rows: tuple[pd.Series | None, ...]
    """By source; None where it has no such case."""
    ratios: tuple[Ratio | None, ...]
    """The time of each source over the first one's; None where either has no time."""


def across(sources: Sequence[Source]) -> list[Across]:
    """Cases that at least two sources have, in the order of the first that has them."""
    by_key = [{str(row["key"]): row for _, row in source.rows.iterrows()} for source in sources]
    keys = dict.fromkeys(key for rows in by_key for key in rows)
    shared = [key for key in keys if sum(key in rows for rows in by_key) > 1]
    return [_across(key, tuple(rows.get(key) for rows in by_key)) for key in shared]


def _across(key: str, rows: tuple[pd.Series | None, ...]) -> Across:
    first = rows[0]
    ratios = [None if row is first else _ratio(row, first) for row in rows]
    return Across(key=key, rows=rows, ratios=tuple(ratios))


def _ratio(row: pd.Series | None, first: pd.Series | None) -> Ratio | None:
    if row is None or first is None or not (_is_timed(row) and _is_timed(first)):
        return None
    return ratio_of(row, first)


def _is_timed(row: pd.Series) -> bool:
    return bool(row["verdict"] == "ok" and row["time_ms"] > 0)
