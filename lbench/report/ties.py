"""Which backends cannot be told from the best of a length: a table marks them instead of crowning one."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from lbench import ratios
from lbench.ratios import Noise, Ratio

TIMED = ("time_ms", "ns_per_token", "tokens_per_s", "relative_speed")
"""Metrics that order backends as their times do."""


def ties(rows: pd.DataFrame, metric: str) -> dict[Hashable, float]:
    """Rows of one pass and condition that are, or may be, the best of their length, by their index.

    The value is the smallest difference (0.018: 1.8 %) that would have been seen; a best row that all others
    of its length differ from is not among them. Empty for a metric that is no time.
    """
    found: dict[Hashable, float] = {}
    if metric not in TIMED:
        return found
    timed = rows[(rows["verdict"] == "ok") & rows["time_ms"].notna()]
    for _, part in timed.groupby("seq_len"):
        noise = noise_of(part)
        by_time = sorted(part.iterrows(), key=lambda line: line[1]["time_ms"])
        first, best = by_time[0]
        seen = {index: ratio_of(row, best, noise) for index, row in by_time[1:]}
        equal = {index: ratio.could_see for index, ratio in seen.items() if not ratio.differs}
        if equal:
            found |= {**equal, first: max(equal.values())}
    return found


def noise_of(rows: pd.DataFrame) -> Noise | None:
    """The noise floor that the A/A pairs among the rows show."""
    if "twin_rounds_ms" not in rows:
        return None
    pairs = [
        (row["rounds_ms"], row["twin_rounds_ms"])
        for _, row in rows.iterrows()
        if _rounds(row, "twin_rounds_ms") > 1
    ]
    return ratios.noise_of(pairs)


def ratio_of(one: pd.Series, other: pd.Series, noise: Noise | None = None) -> Ratio:
    """The time of one row over another's: paired by round where they took turns in one run."""
    alone = ratios.unpaired(_interval(one), _interval(other))
    least = 2 if alone.is_known else ratios.ROUNDS
    if one.get("run") == other.get("run") and _rounds(one) >= least and _rounds(other) >= least:
        return ratios.paired(one["rounds_ms"], other["rounds_ms"], noise) or alone
    return alone


def _interval(row: pd.Series) -> tuple[float, float, float]:
    return float(row["time_ms"]), float(row["time_ms_low"]), float(row["time_ms_high"])


def _rounds(row: pd.Series, name: str = "rounds_ms") -> int:
    value: Any = row.get(name)
    return len(value) if isinstance(value, (tuple, list)) else 0
