"""What a vertical axis shows: a metric of the frame with its interval, or speed relative to a backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lbench.errors import UsageError, unknown
from lbench.metrics import METRICS
from lbench.report.wording import FLAGSHIP, full_title

RELATIVE = "relative_speed"
DEFAULT_METRICS = ("time_ms", "ns_per_token", "tokens_per_s", "peak_mib", "error_rms", RELATIVE)
SLUGS = {
    "time_ms": "time",
    "ns_per_token": "time-per-token",
    "tokens_per_s": "throughput",
    "peak_mib": "peak-memory",
    "workspace_mib": "workspace",
    "error_rms": "error",
}
FLOOR = {"time_ms": 1.0, "ns_per_token": 1e6}
"""Metrics that the memory floor bounds, and their unit in ms (per token where the name says so)."""
ERRORS = ("error_out", "error_grad", "error_block", "error_rms", "error_share")
"""Metrics that rows which are `wrong` have too: how wrong they are is what their figure is for."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One quantity as an axis."""

    metric: str
    title: str
    """With the unit, for the axis."""
    unit: str = ""
    heading: str
    """For the figure's title."""
    slug: str
    """First part of the file's name."""
    log: bool = True
    reference: str = ""
    """The backend that relative speed is measured against."""


def axis(metric: str, reference: str = "") -> Axis:
    """The axis of a metric; `reference` is the backend of relative speed. UsageError for an unknown name."""
    if metric == RELATIVE:
        return Axis(
            metric=metric,
            title=f"speed relative to {full_title(reference)}",
            unit="relative speed",
            heading=f"Speed relative to {full_title(reference)}",
            slug="relative-speed",
            reference=reference,
        )
    if metric not in METRICS:
        raise unknown("metric", metric, [*METRICS, RELATIVE])
    known = METRICS[metric]
    return Axis(
        metric=metric,
        title=f"{known.title} ({known.unit})" if known.unit else known.title,
        heading=f"{known.title[:1].upper()}{known.title[1:]} against length",
        unit=known.unit,
        slug=SLUGS.get(metric, metric.replace("_", "-")),
        log=bool(known.unit) or known.better == "lower",
    )


def check_reference(metrics: Sequence[str], relative_to: str | None) -> None:
    """UsageError where a reference is named and none of the metrics is relative to it."""
    if relative_to and RELATIVE not in metrics:
        raise UsageError(
            f"--relative-to is for {RELATIVE}, not for --metric {','.join(metrics)}; leave one of the two out"
        )


def pick_reference(frame: pd.DataFrame, wanted: str = "") -> str:
    """The backend that speeds are relative to: the one asked for, else ours, else the first of lightning."""
    present = list(dict.fromkeys(frame["backend"]))
    if wanted:
        if wanted not in present:
            raise unknown("backend in these results", wanted, present)
        return wanted
    timed = frame[frame["time_ms"].notna()]
    if timed.empty:
        return present[0]
    if FLAGSHIP in set(timed["backend"]):
        return FLAGSHIP
    lightning = timed.loc[timed["mechanism"] == "lightning", "backend"]
    return str(lightning.iloc[0] if len(lightning) else timed["backend"].iloc[0])


def values(rows: pd.DataFrame, wanted: Axis) -> pd.DataFrame:
    """Columns y, low and high of the rows (same index); NaN where a row is not `ok` or has no such value.

    low and high are NaN too where there are too few samples for an interval.
    """
    ok = rows["verdict"] == "ok"
    if wanted.metric in ERRORS:
        ok |= rows["verdict"] == "wrong"
    time, low, high = (rows[name].where(ok) for name in ("time_ms", "time_ms_low", "time_ms_high"))
    if wanted.metric == RELATIVE:
        base = _reference_times(rows[ok], wanted.reference).reindex(_points(rows))
        base.index = rows.index
        same = rows["backend"] == wanted.reference
        y = base["time_ms"] / time
        spread = (base["time_ms_low"] / high).where(~same, y), (base["time_ms_high"] / low).where(~same, y)
        made = pd.DataFrame({"y": y, "low": spread[0], "high": spread[1]})
    else:
        y = rows[wanted.metric].where(ok)
        made = pd.DataFrame({"y": y, "low": y, "high": y})
        if wanted.metric in ("time_ms", "ns_per_token"):
            made["low"], made["high"] = y * (low / time), y * (high / time)
        elif wanted.metric == "tokens_per_s":
            made["low"], made["high"] = y * (time / high), y * (time / low)
    return made.astype(float).replace([np.inf, -np.inf], np.nan)


def bound(rows: pd.DataFrame, wanted: Axis) -> pd.Series:
    """What bounds a metric by length, in the axis's unit, its name for the legend; empty where nothing does.

    Times have the memory floor of lightning; errors of one mechanism have what is allowed.
    """
    if wanted.metric == "error_share":
        return pd.Series(1.0, index=sorted(rows["seq_len"].unique()), name="allowed")
    if wanted.metric == "error_rms" and rows["mechanism"].nunique() == 1 and "error_limit" in rows:
        known = rows[rows["error_limit"].notna()]
        return known["error_limit"].astype(float).groupby(known["seq_len"]).median().rename("allowed")
    ours = rows[(rows["mechanism"] == "lightning") & rows["floor_ms"].notna()]
    if wanted.metric not in FLOOR or ours.empty:
        return pd.Series(dtype=float)
    scaled = ours["floor_ms"] * FLOOR[wanted.metric]
    if wanted.metric == "ns_per_token":
        scaled = scaled / ours["tokens"]
    named = scaled.astype(float).groupby(ours["seq_len"]).median()
    return named.rename("memory floor (lightning)")


def _points(rows: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(rows[["pass", "batch", "seq_len"]])


def _reference_times(rows: pd.DataFrame, reference: str) -> pd.DataFrame:
    base = rows[rows["backend"] == reference].drop_duplicates(["pass", "batch", "seq_len"])
    return base.set_index(["pass", "batch", "seq_len"])[["time_ms", "time_ms_low", "time_ms_high"]]
