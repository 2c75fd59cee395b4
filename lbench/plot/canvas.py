"""Text, markers and rules placed in inches from the figure's lower left corner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D


def add_axes(figure: Figure, left: float, bottom: float, right: float, top: float) -> Axes:
    """Axes that fill the given box."""
    wide, tall = figure.get_size_inches()
    return figure.add_axes((left / wide, bottom / tall, (right - left) / wide, (top - bottom) / tall))


def add_text(figure: Figure, x: float, y: float, text: str, **options: Any) -> None:
    """Text as it is written: a `$` in a name is no formula."""
    figure.text(x, y, text, transform=figure.dpi_scale_trans, parse_math=False, **options)


def add_marker(figure: Figure, x: float, y: float, marker: str, colour: str, size: float) -> None:
    """One marker, as in a legend."""
    figure.add_artist(
        Line2D(
            [x],
            [y],
            color=colour,
            marker=marker,
            markersize=size,
            markeredgecolor="white",
            markeredgewidth=0.4,
            transform=figure.dpi_scale_trans,
        )
    )


def add_rule(
    figure: Figure, xs: Sequence[float], ys: Sequence[float], colour: str, dotted: bool = False
) -> None:
    """A thin line under everything else, such as one that leads to a label."""
    figure.add_artist(
        Line2D(
            xs,
            ys,
            color=colour,
            linewidth=0.5,
            linestyle=(0, (1, 3)) if dotted else "-",
            zorder=1,
            transform=figure.dpi_scale_trans,
        )
    )


def to_inches(ax: Axes, x: float, y: float) -> tuple[float, float]:
    """Where a point of the axes lies, once their limits are set."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    across, up = ax.transData.transform((x, y)) / figure.dpi
    return float(across), float(up)
