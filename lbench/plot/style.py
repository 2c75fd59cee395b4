"""How backends look: one colour a mechanism, one marker a backend, the same in every figure.

A backend's file says its marker, so that none changes when another backend joins or goes, and none depends on
what a result file happens to hold. Where nothing says a marker or a colour, a checksum of the name does.
"""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass
from typing import Any

from lbench import backends
from lbench.report.wording import FLAGSHIP, rank, title

COLOURS = {
    "softmax": "#4d4d4d",
    "lightning": "#d55e00",
    "linear": "#e69f00",
    "retention": "#cc79a7",
    "gla": "#009e73",
    "deltanet": "#882255",
    "gated_deltanet": "#5b53a8",
    "mamba1": "#56b4e9",
    "mamba2": "#0072b2",
}
"""Okabe and Ito's palette (2008), which colour-blind readers can tell apart, without its faint yellow,
and two darker colours for the delta rule."""
OTHER_COLOURS = ("#8c564b", "#9467bd", "#6b6e1f", "#1b4f4f")
ON_DARK = {
    "#4d4d4d": "#bdbdbd",
    "#0072b2": "#4a9fd8",
    "#8c564b": "#c08a7e",
    "#882255": "#d1719f",
    "#5b53a8": "#9d96e0",
    "#6b6e1f": "#a9ad4b",
    "#1b4f4f": "#5fb0b0",
}
"""The same colours where the page is dark, for those that would drown in it."""
OUR_MARKERS = ("o", "H")
"""Kept for our backends."""
MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">", "h", "p", "d", "*", "8")
OURS = "lightning_attention"
"""Backends that need this package are ours: drawn thicker, in front."""
INK = "#262626"
FAINT = "#6b6b6b"
GRID = "#e6e6e6"
PT = 7.0
"""Smallest font size in points, at the paper's width."""

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": PT,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.labelsize": PT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": PT,
    "ytick.labelsize": PT,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "lbench",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    "figure.dpi": 200,
}


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one backend is drawn."""

    title: str
    colour: str
    marker: str
    ours: bool
    flagship: bool
    """The backend that the project is about: the thickest line, on top of all."""
    order: tuple[int, str, str]
    """Sorts backends by mechanism."""


@functools.cache
def look(backend: str, mechanism: str) -> Look:
    """The look of a backend; it depends on nothing but the two names and the backend's own file."""
    registered = backends.load(backend) if backend in backends.names() else None
    return Look(
        title=title(backend),
        colour=COLOURS.get(mechanism) or OTHER_COLOURS[_checksum(mechanism) % len(OTHER_COLOURS)],
        marker=_marker(backend, registered),
        ours=bool(registered and _is_ours(registered)),
        flagship=backend == FLAGSHIP,
        order=rank(backend, mechanism),
    )


def _marker(backend: str, registered: backends.Backend | None) -> str:
    given = registered.marker if registered else ""
    return given if given in (*OUR_MARKERS, *MARKERS) else MARKERS[_checksum(backend) % len(MARKERS)]


def _is_ours(backend: backends.Backend) -> bool:
    return OURS in backend.packages


def _checksum(text: str) -> int:
    return zlib.crc32(text.encode())
