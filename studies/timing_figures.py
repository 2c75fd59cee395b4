"""The figures of the timing study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

INK, OURS, FAINT = "#262626", "#d55e00", "#6b6b6b"


def draw(agreed: Sequence[dict[str, Any]], compared: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes agreement.png and comparisons.png, each where there are rows for it."""
    if agreed:
        _agreement(agreed, folder / "agreement.png")
    if compared:
        _comparisons(compared, folder / "comparisons.png")


def _agreement(agreed: Sequence[dict[str, Any]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
    axes.axhspan(-2, 2, color=FAINT, alpha=0.15, label="2 %", linewidth=0)
    axes.axhline(0, color=INK, linewidth=0.8)
    for timer, marker in (("graph", "o"), ("events", "s"), ("wall", "^")):
        rows = [row for row in agreed if row["timer"] == timer]
        if not rows:
            continue
        middle = [100 * row["difference"] for row in rows]
        low = [100 * (row["time_ms"] - row["time_ms_low"]) / row["reference_ms"] for row in rows]
        high = [100 * (row["time_ms_high"] - row["time_ms"]) / row["reference_ms"] for row in rows]
        x = [row["reference_ms"] for row in rows]
        axes.errorbar(x, middle, (low, high), fmt=marker, color=OURS, label=timer, capsize=2)
        if timer == "graph":  # short calls, for which what lies between two kernels counts
            alone = [100 * row["difference_to_profiler"] for row in rows]
            label = "beside the kernels alone"
            axes.plot(x, alone, marker, color=OURS, markerfacecolor="none", label=label)
    axes.set_xscale("log")
    axes.set_xlabel(f"kernel time by {', '.join(sorted({row['reference'] for row in agreed}))} (ms)")
    axes.set_ylabel("lbench's time above it (%)")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=200)
    plt.close(figure)


def _comparisons(compared: Sequence[dict[str, Any]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
    for slowdown in sorted({row["slowdown"] for row in compared}):
        logs = sorted(100 * math.log(row["ratio"]) for row in compared if row["slowdown"] == slowdown)
        shares = [(index + 0.5) / len(logs) for index in range(len(logs))]
        label = f"{slowdown:.0%} more work" if slowdown else "A/A"
        axes.plot(logs, shares, label=label, color=INK if not slowdown else None)
    axes.set_xlabel("measured difference (100 log ratio)")
    axes.set_ylabel("share of comparisons below")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=200)
    plt.close(figure)
