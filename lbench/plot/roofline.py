"""The roofline figure: a panel a pass, a line a backend over its lengths, the card's roofs above all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lbench.plot import files
from lbench.plot.axes import short
from lbench.plot.canvas import add_axes, add_marker, add_text
from lbench.plot.layout import LINE, WIDTH, text_width
from lbench.plot.style import FAINT, GRID, INK, PT, RC, look
from lbench.report.roofline import Panel, Point
from lbench.report.wording import PASS_TITLES, rank

HEADER = 0.62
TALL = 2.4
LEFT = 0.58
GAP = 0.5
BELOW = 0.5
"""For an axis's numbers and title."""
WIDEN = 1.6
"""Room beyond the outermost points, as a factor."""
HIGHEST = 0.9
"""Where in a panel the highest roof is at most, so that its name has room above it."""
TOLD = ((0.7, (1.0, 2.0, 3.0, 5.0, 7.0)), (2.2, (1.0, 2.0, 5.0)), (math.inf, (1.0,)))
"""(up to so many decades of an axis, the numbers of each that are written)."""


def roofline_files(
    panels: Sequence[Panel], formats: Sequence[str] = ("png",), origin: str = ""
) -> dict[str, bytes]:
    """`roofline-CONDITION.png` (and so on) and its content, one a condition."""
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **RC}
    contents: dict[str, bytes] = {}
    with matplotlib.rc_context(settings):
        for slug in dict.fromkeys(panel.condition.slug for panel in panels):
            figure = figure_of([panel for panel in panels if panel.condition.slug == slug])
            for kind in formats:
                contents[f"roofline-{slug}.{kind}"] = files.content(figure, kind, origin)
    return contents


def figure_of(panels: Sequence[Panel]) -> Figure:
    """The figure of one condition: its passes side by side, names below."""
    names = _names(panels)
    columns = max(1, int((WIDTH - LEFT) // (max(text_width(one.title) for one in names) + 0.35)))
    lines = math.ceil(len(names) / columns)
    height = HEADER + TALL + BELOW + LINE * (lines + 2)
    figure = Figure(figsize=(WIDTH, height))
    condition = panels[0].condition
    add_text(figure, 0.1, height - 0.2, "Work under the roofs of the card", size=PT + 2, weight="bold")
    add_text(figure, 0.1, height - 0.38, f"{condition.title}; {condition.setting}", color=FAINT)
    wide = (WIDTH - LEFT - 0.1 - GAP * (len(panels) - 1)) / len(panels)
    bottom = height - HEADER - TALL
    for number, panel in enumerate(panels):
        left = LEFT + number * (wide + GAP)
        ax = add_axes(figure, left, bottom, left + wide, bottom + TALL)
        _draw(ax, panel, first=not number)
    _legend(figure, names, columns, bottom - BELOW)
    told = ["useful FLOP over the bytes that must move: a dot a length, the marker at the longest"]
    if any(panel.counted for panel in panels):
        told.append("hollow: executed FLOP over the bytes that moved")
    add_text(figure, 0.1, 0.08, "; ".join(told), color=FAINT)
    return figure


def _draw(ax: Axes, panel: Panel, first: bool) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_title(PASS_TITLES.get(panel.pass_name, panel.pass_name), loc="left", fontsize=PT, weight="bold")
    ax.grid(color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    _limits(ax, panel)
    _roofs(ax, panel)
    for backend in dict.fromkeys(point.backend for point in panel.points):
        _line(ax, [point for point in panel.points if point.backend == backend])
    ax.set_xlabel("FLOP per byte", labelpad=2)
    if first:
        ax.set_ylabel("TFLOP/s", labelpad=2)
    for axis in (ax.xaxis, ax.yaxis):
        low, high = axis.get_view_interval()
        subs = next(subs for decades, subs in TOLD if math.log10(high / low) < decades)
        axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=9))
        axis.set_minor_locator(LogLocator(base=10, subs=tuple(range(2, 10)), numticks=20))
        axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axis.set_minor_formatter(NullFormatter())


def _limits(ax: Axes, panel: Panel) -> None:
    points = panel.points
    _limit(ax.set_xlim, [x for one in points for x in (one.intensity, one.executed_intensity)])
    up = [y for one in points for y in (one.tflop_s, one.executed_tflop_s)]
    _limit(ax.set_ylim, [*up, *(panel.roof.tflop_s(x) for x in ax.get_xlim())])


def _limit(limit: Callable[[float, float], Any], values: Sequence[float]) -> None:
    """Ends of an axis: room on both sides, and above the highest for the name of a roof."""
    known = [value for value in values if value > 0]
    low, high = min(known) / WIDEN, max(known)
    limit(low, max(high * WIDEN, low * (high / low) ** (1 / HIGHEST)))


def _roofs(ax: Axes, panel: Panel) -> None:
    """The copy bandwidth rises, the matrix rate is level; each named where it is within the panel."""
    roof = panel.roof
    across = [float(x) for x in np.geomspace(*ax.get_xlim(), 200)]
    ax.plot(across, [roof.tflop_s(x) for x in across], color=INK, linewidth=1.0, zorder=1, gid="roof")
    low, high = ax.get_ylim()
    style: dict[str, Any] = {"textcoords": "offset points", "color": FAINT, "ha": "right", "va": "bottom"}
    slope = [roof.tflop_s(x) for x in across if roof.name(x) == "memory"]
    inside = [rate for rate in slope if low <= rate <= high]
    if inside:
        # Beside its upper part, where no point can lie.
        y = min(inside[0] * (inside[-1] / inside[0]) ** 0.75, low * (high / low) ** (HIGHEST - 0.02))
        told = f"copy\n{roof.bandwidth_gb_s / 1e3:.3g} TB/s"
        ax.annotate(told, (y * 1e3 / roof.bandwidth_gb_s, y), xytext=(-4, 1), **style)
    if roof.name(across[-1]) == "matrix":
        told = f"matrix product {roof.matrix_tflop_s:.3g} TFLOP/s"
        ax.annotate(told, (across[-1], roof.matrix_tflop_s), xytext=(-2, 3), **style)


def _line(ax: Axes, points: Sequence[Point]) -> None:
    its = look(points[0].backend, points[0].mechanism)
    ax.plot(
        [one.intensity for one in points],
        [one.tflop_s for one in points],
        color=its.colour,
        linewidth=0.6,
        marker=".",
        markersize=1.6,
        alpha=0.6,
        gid=f"line-{its.title}",
    )
    last = points[-1]
    ax.plot(
        [last.intensity],
        [last.tflop_s],
        color=its.colour,
        marker=its.marker,
        markersize=5.2 if its.ours else 4.0,
        markeredgecolor="white",
        markeredgewidth=0.4,
        zorder=4 if its.ours else 3,
        gid=f"longest-{its.title}",
    )
    executed = [one for one in points if not math.isnan(one.executed_tflop_s)]
    for one in executed:
        ax.plot(
            [one.intensity, one.executed_intensity],
            [one.tflop_s, one.executed_tflop_s],
            color=its.colour,
            linewidth=0.6,
            linestyle=(0, (1, 2)),
        )
    ax.plot(
        [one.executed_intensity for one in executed],
        [one.executed_tflop_s for one in executed],
        color=its.colour,
        linestyle="none",
        marker=its.marker,
        markersize=5,
        markerfacecolor="none",
        gid=f"executed-{its.title}",
    )


def _names(panels: Sequence[Panel]) -> list[Any]:
    found = {(point.backend, point.mechanism) for panel in panels for point in panel.points}
    return [look(*one) for one in sorted(found, key=lambda one: rank(*one))]


def _legend(figure: Figure, names: Sequence[Any], columns: int, top: float) -> None:
    per_column = math.ceil(len(names) / columns)
    for number, one in enumerate(names):
        column, line = divmod(number, per_column)
        x, y = 0.1 + column * (WIDTH - 0.2) / columns, top - LINE * (line + 0.5)
        add_marker(figure, x + 0.05, y, one.marker, one.colour, 4.2)
        weight = "bold" if one.ours else "normal"
        add_text(figure, x + 0.14, y, one.title, weight=weight, va="center_baseline", gid="label")
