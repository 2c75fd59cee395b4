"""Names of the lines: at their right ends, beside the strip of failures, and where a line breaks off."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lbench.plot.canvas import add_marker, add_rule, add_text, to_inches
from lbench.plot.labels import Box, find_room, spread
from lbench.plot.layout import ELBOW, GAP, LINE, MARKER, Place, text_width
from lbench.plot.series import Panel, Series
from lbench.plot.style import INK

STEP = 0.03
"""Inches between the points of a line that a label must not cover."""
TALL = 0.13
"""Height of a name's letters and what they keep clear."""
EDGE = 0.03
"""From a marker's centre to its edge."""
CLEAR = 0.07
"""Between a line's last marker and the name beside it."""


@dataclass(frozen=True)
class _Name:
    title: str
    colour: str
    marker: str
    bold: bool


def name_lines(figure: Figure, ax: Axes, panel: Panel, place: Place) -> None:
    """Every backend of the panel once at the right, and again where a line breaks off, given room."""
    _name_ends(figure, ax, panel, place)
    for number, series in enumerate(panel.failing):
        y = place.top + GAP + place.strip - LINE * (number + 0.5)
        _add_name(figure, place.right + ELBOW, y, _name(series))
    _name_breaks(figure, ax, panel, place)


def _name_ends(figure: Figure, ax: Axes, panel: Panel, place: Place) -> None:
    """Names in the order of the lines' ends, spread so that none touch, each led to by a thin rule."""
    ends = [(_name(one), *_last(one)) for one in panel.finishing]
    if len(panel.bound):
        name = _Name(str(panel.bound.name), INK, "", False)
        ends.append((name, panel.bound.index[-1], panel.bound.iloc[-1]))
    spots = [to_inches(ax, x, y) for _, x, y in ends]
    heights = spread([up for _, up in spots], LINE, place.bottom + LINE / 2, place.top - LINE / 2)
    for (name, x, _), (across, up), height in zip(ends, spots, heights, strict=True):
        edge = place.right + 0.02
        add_rule(figure, [across, edge], [up, up], name.colour, dotted=x < panel.lengths[-1])
        add_rule(figure, [edge, place.right + ELBOW - 0.05], [up, height], name.colour)
        _add_name(figure, place.right + ELBOW, height, name)


def _name_breaks(figure: Figure, ax: Axes, panel: Panel, place: Place) -> None:
    """Names beside the last point of lines that end early, only where they cover nothing drawn."""
    obstacles = [point for one in panel.drawn for point in _trace(ax, one)]
    taken: list[Box] = []
    for series in panel.drawn:
        if series.finishes or not len(series.points):
            continue
        title = series.look.title
        candidates = _around(*to_inches(ax, *_last(series)), text_width(title), place)
        box = find_room(candidates, obstacles, taken)
        if box:
            taken.append(box)
            middle = (box[1] + box[3]) / 2
            add_text(
                figure,
                box[0],
                middle,
                title,
                color=series.look.colour,
                va="center_baseline",
                gid="label-break",
            )


def _around(x: float, y: float, width: float, place: Place) -> Iterator[Box]:
    """Boxes for a name near a point, the best first, all within the axes."""
    half = TALL / 2
    corners = [(x + CLEAR, y + rise - half) for rise in (0, half, -half)]
    corners += [(x + shift, y + CLEAR / 2) for shift in (0.02, -width / 2, -width - 0.02)]
    corners += [(x - width - CLEAR, y + rise - half) for rise in (half, 0)]
    corners += [(x + shift, y - CLEAR / 2 - TALL) for shift in (0.02, -width / 2, -width - 0.02)]
    for left, bottom in corners:
        box = (left, bottom, left + width, bottom + TALL)
        if place.left < box[0] and box[2] < place.right and place.bottom < box[1] and box[3] < place.top:
            yield box


def _trace(ax: Axes, series: Series) -> Iterator[tuple[float, float]]:
    """Points all along a line, its intervals, and the edges of its markers, in inches."""
    points = series.points
    spots = [to_inches(ax, x, y) for x, y in zip(points["seq_len"], points["y"], strict=True)]
    for x, y in spots:
        yield from ((x + across, y + up) for across in (-EDGE, 0, EDGE) for up in (-EDGE, 0, EDGE))
    ends = [
        [to_inches(ax, x, y) for y in pair]
        for x, *pair in zip(points["seq_len"], points["low"], points["high"], strict=True)
        if not math.isnan(pair[0])  # too few samples for an interval
    ]
    for (x0, y0), (x1, y1) in (*pairwise(spots), *ends):
        count = int(max(abs(x1 - x0), abs(y1 - y0)) / STEP) + 2
        yield from zip(np.linspace(x0, x1, count).tolist(), np.linspace(y0, y1, count).tolist(), strict=True)


def _last(series: Series) -> tuple[float, float]:
    return float(series.points["seq_len"].iloc[-1]), float(series.points["y"].iloc[-1])


def _name(series: Series) -> _Name:
    one = series.look
    return _Name(one.title, one.colour, one.marker, one.ours)


def _add_name(figure: Figure, x: float, y: float, name: _Name) -> None:
    if name.marker:
        add_marker(figure, x + 0.03, y, name.marker, name.colour, 4.8 if name.bold else 4.2)
    weight = "bold" if name.bold else "normal"
    add_text(figure, x + MARKER - 0.04, y, name.title, weight=weight, va="center_baseline", gid="label")
