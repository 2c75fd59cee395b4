"""The figures of the study of the regression gate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from lbench.plot.style import FAINT, INK

FAILS, UNDECIDED, FIXED = "#d55e00", "#56b4e9", "#6b6b6b"
MODES = ((1, False, "one process"), (2, False, "two"), (3, False, "three"), (1, True, "budget, up to six"))

MARGIN = 3
"""Per cent by which a case may be slower."""


def draw(counted: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes false-alarms.png and power.png."""
    _false_alarms([row for row in counted if not row["slowdown"]], folder / "false-alarms.png")
    _power(counted, folder / "power.png")


def _false_alarms(rows: Sequence[dict[str, Any]], path: Path) -> None:
    names = list(dict.fromkeys(row["noise"] for row in rows))
    figure, both = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained", sharey=True)
    for axes, what, limit in zip(both, ("fails", "undecided"), (1.0, None), strict=True):
        for number, (new, budget, label) in enumerate(MODES):
            of = {
                row["noise"]: row
                for row in rows
                if (row["processes"], row["new"], row["budget"]) == (5, new, budget)
            }
            shares = [100 * of[name][what] / of[name]["tables"] for name in names]
            y = [index + 0.18 * (number - 1.5) for index in range(len(names))]
            if what == "fails":
                ends = [
                    [share - 100 * of[name]["fails_low"] for share, name in zip(shares, names, strict=True)],
                    [100 * of[name]["fails_high"] - share for share, name in zip(shares, names, strict=True)],
                ]
                axes.errorbar(shares, y, xerr=ends, fmt="o", color=f"C{number}", label=label, capsize=2, ms=4)
            else:
                axes.plot(shares, y, "o", color=f"C{number}", ms=4, label=label)
        if limit:
            allowed = axes.axvline(
                limit, color=INK, linewidth=0.8, linestyle="--", label=f"allowed: {limit:g} %"
            )
        axes.set_xlabel(
            f"clean tables of {20} cases that {'fail' if what == 'fails' else 'end undecided'} (%)"
        )
        axes.grid(axis="x", color="#e6e6e6")
        axes.set_axisbelow(True)
    both[0].set_yticks(range(len(names)), names)
    both[0].invert_yaxis()
    both[0].set_xlim(-0.05, 2.5)
    both[1].set_xlim(0, 100)
    figure.legend(
        handles=[*both[1].get_legend_handles_labels()[0], allowed],
        loc="outside upper center",
        ncols=5,
        frameon=False,
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _power(counted: Sequence[dict[str, Any]], path: Path) -> None:
    rows = [row for row in counted if row["budget"]]
    names = [name for name in dict.fromkeys(row["noise"] for row in rows) if _has_curve(rows, name)]
    figure, all_axes = plt.subplots(
        1, len(names), figsize=(3.6 * len(names), 3.8), layout="constrained", sharey=True
    )
    for axes, name in zip(all_axes, names, strict=True):
        for baseline, style in ((5, "-"), (10, "--")):
            of = sorted(
                (row for row in rows if row["noise"] == name and row["processes"] == baseline),
                key=lambda row: row["slowdown"],
            )
            x = [100 * row["slowdown"] for row in of]
            for key, colour, label in (
                ("slowed case fails", FAILS, "fails"),
                ("slowed case undecided", UNDECIDED, "undecided"),
                ("slowed case fixed fails", FIXED, "fixed 5 % fails"),
            ):
                if key.endswith("fixed fails") and baseline == 10:
                    continue
                y = [100 * row[key] / row["tables"] for row in of]
                told = f"{label}, baseline of {baseline}" if "fixed" not in label else label
                axes.plot(x, y, style, marker="o", ms=3, color=colour, label=told)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("slowdown of the case (%)")
        axes.grid(color="#e6e6e6")
        axes.axvline(
            MARGIN, color=FAINT, linewidth=0.8, linestyle=":", label=f"the gate's margin, {MARGIN} %"
        )
    all_axes[0].set_ylabel("of slowed cases (%)")
    figure.legend(
        *all_axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _has_curve(rows: Sequence[dict[str, Any]], name: str) -> bool:
    return any(row["slowdown"] for row in rows if row["noise"] == name)
