"""The measures of a figure in inches, so that every figure has the paper's width and no text overlaps."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from lbench.plot.series import Panel
from lbench.plot.style import PT

WIDTH = 7.0
"""A text block's width on letter or A4 paper."""
LEFT = 0.58
"""Room for the vertical axis's labels."""
ELBOW = 0.28
"""From the axes to a label's marker, where leader lines run."""
MARKER = 0.16
"""From a label's marker to its text."""
RIGHT = 0.05
LINE = 0.125
"""Height of a line of text."""
HEADER = 0.62
"""Title, setting and the key of mechanisms."""
PANEL_TITLE = 0.22
GAP = 0.06
"""Between the strip of failures and the axes."""
X_AXIS = 0.42
SHORTEST = 1.9
"""Least height of the axes."""
_DPI = 576


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one panel's parts lie; inches from the figure's lower left corner."""

    left: float
    right: float
    bottom: float
    """Of the axes."""
    top: float
    """Of the axes; the strip of failures begins GAP above."""
    strip: float
    """Height of the strip, 0 where nothing failed."""

    @property
    def title(self) -> float:
        """Baseline of the panel's title."""
        return self.top + (self.strip + GAP if self.strip else 0.0) + 0.07


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The figure's height and its panels' places, top to bottom."""

    height: float
    places: tuple[Place, ...]


def text_width(text: str, size: float = PT, bold: bool = False) -> float:
    """Width of a line of text in inches."""
    weight = "bold" if bold else "normal"
    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    width, _, _ = _renderer().get_text_width_height_descent(text, font, ismath=False)
    return width / _DPI


def arrange(panels: Sequence[Panel], num_notes: int) -> Layout:
    """Panels one below the other, each as high as its labels need."""
    titles = [(one.look.title, one.look.ours) for panel in panels for one in panel.drawn]
    titles += [(str(panel.bound.name), False) for panel in panels if len(panel.bound)]
    column = max((text_width(title, bold=ours) for title, ours in titles), default=0.0)
    right = WIDTH - RIGHT - column - MARKER - ELBOW
    strips = [LINE * len(panel.failing) for panel in panels]
    axes = [max(SHORTEST, LINE * (_num_end_labels(panel) + 0.5)) for panel in panels]
    notes = LINE * num_notes + (0.05 if num_notes else 0.0)
    extra = PANEL_TITLE + X_AXIS
    height = HEADER + sum(axes) + sum(strips) + sum(GAP for s in strips if s) + extra * len(panels) + notes
    places, y = [], height - HEADER
    for strip, tall in zip(strips, axes, strict=True):
        y -= PANEL_TITLE + strip + (GAP if strip else 0.0) + tall
        places.append(Place(left=LEFT, right=right, bottom=y, top=y + tall, strip=strip))
        y -= X_AXIS
    return Layout(height=height, places=tuple(places))


def _num_end_labels(panel: Panel) -> int:
    return len(panel.finishing) + (1 if len(panel.bound) else 0)


@functools.cache
def _renderer() -> RendererAgg:
    canvas = FigureCanvasAgg(Figure(dpi=_DPI))
    return canvas.get_renderer()
