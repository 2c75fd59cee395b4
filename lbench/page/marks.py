"""Markers of `lbench.plot.style` as Plotly and SVG name them, so that page and figures show the same."""

from __future__ import annotations

import math
from collections.abc import Iterator

SYMBOLS = {
    "o": "circle",
    "H": "hexagon2",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "<": "triangle-left",
    ">": "triangle-right",
    "h": "hexagon",
    "p": "pentagon",
    "d": "diamond-tall",
    "*": "star",
    "8": "octagon",
}
"""Matplotlib's marker -> Plotly's symbol."""
_POLYGONS = {
    "o": (24, 0.0, 1.0),
    "H": (6, 0.0, 1.0),
    "s": (4, 45.0, 1.0),
    "^": (3, 0.0, 1.0),
    "D": (4, 0.0, 1.0),
    "v": (3, 180.0, 1.0),
    "<": (3, 270.0, 1.0),
    ">": (3, 90.0, 1.0),
    "h": (6, 30.0, 1.0),
    "p": (5, 0.0, 1.0),
    "d": (4, 0.0, 0.6),
    "8": (8, 22.5, 1.0),
}
"""Corners, degrees turned, width over height."""
_CROSS = (
    (-2, -5),
    (2, -5),
    (2, -2),
    (5, -2),
    (5, 2),
    (2, 2),
    (2, 5),
    (-2, 5),
    (-2, 2),
    (-5, 2),
    (-5, -2),
    (-2, -2),
)


def outline(marker: str) -> str:
    """The `points` of an SVG polygon within -5..5, for a legend."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in _corners(marker))


def _corners(marker: str) -> Iterator[tuple[float, float]]:
    if marker in ("P", "X"):
        turn = math.radians(45 if marker == "X" else 0)
        for x, y in _CROSS:
            yield x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
    elif marker == "*":
        for corner in range(10):
            angle, radius = math.pi * corner / 5, 5 if corner % 2 == 0 else 2
            yield radius * math.sin(angle), -radius * math.cos(angle)
    else:
        count, turned, narrow = _POLYGONS[marker]
        for corner in range(count):
            angle = 2 * math.pi * corner / count + math.radians(turned)
            yield 5 * narrow * math.sin(angle), -5 * math.cos(angle)
