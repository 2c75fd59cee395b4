"""The figures that the timing study is made for, from its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbench import ratios
from lbench.statistics import median, share_interval

SLOWDOWNS = (0.02, 0.03, 0.05)
NEAR = 0.02
"""Within so much of a reference lbench's times are to be."""
REFERENCES = ("difference", "difference_to_profiler", "difference_to_ncu")


def summary(agreed: Sequence[dict[str, Any]], compared: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Agreement, A/A comparisons and slowdowns, as far as there are rows of them."""
    found: dict[str, Any] = {"agreement": _agreement(agreed), "alpha": ratios.ALPHA}
    equal = [row for row in compared if row["kind"] == "A/A"]
    for name, column in (("A/A", "differs"), ("A/A without the noise floor", "differs_without_floor")):
        if equal:
            found[name] = _counted(sum(row[column] for row in equal), len(equal))
    for slowdown in SLOWDOWNS:
        rows = [row for row in compared if row["slowdown"] == slowdown]
        able = [row for row in rows if row["could_see"] <= slowdown]
        if rows:
            found[f"slowdown {slowdown:.0%}"] = {
                **_counted(sum(row["differs"] for row in rows), len(rows)),
                "median_ratio": median([row["ratio"] for row in rows]),
                "could_see_it": len(able),
                "of_these_found": sum(row["differs"] for row in able),
                "stated_power": ratios.POWER,
            }
    return found


def _agreement(agreed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if not agreed:
        return {"calls": 0}
    within = {
        name.replace("difference", "within_2_percent", 1): sum(
            row[name] is not None and abs(row[name]) <= NEAR for row in agreed
        )
        for name in REFERENCES
    }
    return {
        "calls": len(agreed),
        "reference": sorted({row["reference"] for row in agreed}),
        "worst_difference": max((row["difference"] for row in agreed), key=abs),
        **within,
    }


def _counted(hits: int, trials: int) -> dict[str, Any]:
    low, high = share_interval(hits, trials)
    return {"found": hits, "of": trials, "share": hits / trials, "share_low": low, "share_high": high}
