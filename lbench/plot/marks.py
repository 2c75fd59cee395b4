"""What is drawn inside a panel: lines with their intervals, what bounds them, the strip of failures."""

from __future__ import annotations

from matplotlib.axes import Axes

from lbench.plot.axes import limits
from lbench.plot.series import Panel, Series
from lbench.plot.style import INK
from lbench.report.wording import SHORT

STRIP_COLOUR = "#f4f4f4"


def draw_lines(ax: Axes, panel: Panel) -> None:
    """All lines of a panel, ours in front, and the bound behind them."""
    if len(panel.bound):
        ax.plot(panel.bound.index, panel.bound, color=INK, linewidth=0.9, linestyle=(0, (1, 1.6)), zorder=2)
    for series in panel.drawn:
        if len(series.points):
            _draw_line(ax, series)


def draw_failures(ax: Axes, panel: Panel) -> None:
    """One row a failing backend: the verdict where it began, and a rule as long as it lasts."""
    failing = panel.failing
    ax.set_xscale("log", base=2)
    ax.set_xlim(*limits(panel.lengths))
    ax.set_ylim(len(failing), 0)
    ax.set_axis_off()
    ax.set_gid("failures")
    ax.axhspan(0, len(failing), color=STRIP_COLOUR, linewidth=0)
    for number, series in enumerate(failing):
        colour, y = series.look.colour, number + 0.5
        for run in series.failures:
            ax.plot(
                run.lengths, [y] * len(run.lengths), color=colour, linewidth=0.8, marker="|", markersize=3
            )
            ax.text(
                run.lengths[0],
                y,
                SHORT[run.verdict],
                color=colour,
                ha="center",
                va="center_baseline",
                weight="bold",
                gid=f"failure-{series.backend}",
                bbox={"facecolor": STRIP_COLOUR, "edgecolor": "none", "pad": 0.6},
            )


def _draw_line(ax: Axes, series: Series) -> None:
    one, points = series.look, series.points
    width, size, order = (2.4, 4.8, 9) if one.flagship else (1.6, 4.4, 6) if one.ours else (0.9, 3.8, 3)
    x, y = points["seq_len"], points["y"]
    ax.plot(x, y, color=one.colour, linewidth=width, zorder=order, gid=f"line-{series.backend}")
    ax.vlines(x, points["low"], points["high"], color=one.colour, linewidth=1.2, zorder=order)
    for doubted in (False, True):
        some = points[points["doubted"] == doubted]
        ax.plot(
            some["seq_len"],
            some["y"],
            linestyle="none",
            marker=one.marker,
            markersize=size,
            markerfacecolor="white" if doubted else one.colour,
            markeredgecolor=one.colour if doubted else "white",
            markeredgewidth=0.8 if doubted else 0.35,
            zorder=order + 1,
        )
