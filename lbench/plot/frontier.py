"""The figure of frontiers: a bar a backend as long as its longest sequence, a panel a pass and setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lbench.frontier import Frontier
from lbench.lengths import format_length
from lbench.plot import files
from lbench.plot.canvas import add_axes, add_text
from lbench.plot.layout import LEFT, LINE, WIDTH, X_AXIS, text_width
from lbench.plot.style import FAINT, GRID, PT, RC, look
from lbench.report.frontier import by_setting
from lbench.report.wording import SHORT

HIGHEST = 10.0
"""Inches of a figure; what does not fit goes on in another."""
BAR = 0.17
"""Inches from bar to bar."""
HEADER = 0.42
PANEL_TITLE = 0.24
Panel = tuple[str, list[Frontier]]


def frontier_files(
    found: Sequence[Frontier], formats: Sequence[str] = ("png",), origin: str = ""
) -> dict[str, bytes]:
    """`frontier.png` (`frontier-2.png` and so on, where one would be too high) and their contents."""
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **RC}
    with matplotlib.rc_context(settings):
        return {
            f"{name}.{kind}": files.content(figure, kind, origin)
            for number, figure in enumerate(figures_of(found), start=1)
            for name in (f"frontier-{number}" if number > 1 else "frontier",)
            for kind in formats
        }


def figures_of(found: Sequence[Frontier]) -> list[Figure]:
    """Figures of all settings, one below the other, none higher than can be read."""
    return [_figure(panels, found) for panels in _shared_out(by_setting(found))]


def _shared_out(panels: Sequence[Panel]) -> list[list[Panel]]:
    """The panels in their order, as many to a figure as fit; a higher one is cut."""
    most = int((HIGHEST - HEADER - PANEL_TITLE - X_AXIS) / BAR)
    cut = [(name, group[at : at + most]) for name, group in panels for at in range(0, len(group), most)]
    figures: list[list[Panel]] = [[]]
    for panel in cut:
        if figures[-1] and _height([*figures[-1], panel]) > HIGHEST:
            figures.append([])
        figures[-1].append(panel)
    return figures


def _height(panels: Sequence[Panel]) -> float:
    return HEADER + sum(PANEL_TITLE + BAR * len(group) + X_AXIS for _, group in panels)


def _figure(panels: Sequence[Panel], found: Sequence[Frontier]) -> Figure:
    height = _height(panels)
    figure = Figure(figsize=(WIDTH, height))
    add_text(
        figure, LEFT / 2, height - 0.2, "Longest sequence before the memory ends", size=PT + 2, weight="bold"
    )
    names = max(text_width(look(one.case.backend, one.case.mechanism).title) for one in found)
    left, top = names + 0.2, height - HEADER
    for name, group in panels:
        add_text(figure, LEFT / 2, top - LINE, name[:1].upper() + name[1:], weight="bold")
        top -= PANEL_TITLE
        ax = add_axes(figure, left, top - BAR * len(group), WIDTH - 1.75, top)
        _draw(ax, group, *_ends(found))
        top -= BAR * len(group) + X_AXIS
    return figure


def _ends(found: Sequence[Frontier]) -> tuple[float, float]:
    """Ends of the axis, the same for all panels."""
    return min(max(one.longest, 64) for one in found) / 4, max(one.beyond or one.longest for one in found)


def _draw(ax: Axes, group: Sequence[Frontier], least: float, longest: float) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xlim(least, longest * 1.1)
    ax.set_ylim(len(group) - 0.5, -0.5)
    ax.grid(axis="x", color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.xaxis.set_major_locator(LogLocator(base=2, numticks=9))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_length(round(value))))
    ax.set_xlabel("tokens of a sequence", labelpad=2)
    looks = [look(one.case.backend, one.case.mechanism) for one in group]
    ax.set_yticks(range(len(group)), [one.title for one in looks], parse_math=False)
    ax.tick_params(axis="y", length=0)
    for place, (one, its) in enumerate(zip(group, looks, strict=True)):
        ax.barh(place, one.longest - least, left=least, height=0.62, color=its.colour, gid=f"bar-{its.title}")
        ax.annotate(
            _told(one),
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center_baseline",
            color=FAINT,
            annotation_clip=False,
        )


def _told(frontier: Frontier) -> str:
    longest = format_length(frontier.longest) if frontier.longest else "none"
    if frontier.beyond is None:
        return f"{longest}, no end found"
    return f"{longest}, {SHORT.get(frontier.verdict, frontier.verdict)} at {format_length(frontier.beyond)}"
