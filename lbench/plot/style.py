"""How backends look: one colour a mechanism, one marker a backend, the same in every figure.

Looks come from the registry, never from what a result file happens to hold. A backend or mechanism that is
not registered gets a look from a checksum of its name, so it keeps it too.
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
    """The look of a backend; it depends on nothing but the two names and the registry."""
    registered = _registered().get(backend)
    return Look(
        title=title(backend),
        colour=COLOURS.get(mechanism) or OTHER_COLOURS[_checksum(mechanism) % len(OTHER_COLOURS)],
        marker=_marker(backend, mechanism),
        ours=bool(registered and _is_ours(registered)),
        flagship=backend == FLAGSHIP,
        order=rank(backend, mechanism),
    )


def _marker(backend: str, mechanism: str) -> str:
    registry = _registered()
    if backend not in registry:
        return MARKERS[_checksum(backend) % len(MARKERS)]
    ours = _is_ours(registry[backend])
    markers = OUR_MARKERS if ours else MARKERS
    alike = [name for name, one in registry.items() if one.mechanism == mechanism and _is_ours(one) == ours]
    alike.sort(key=lambda name: name != FLAGSHIP)  # it keeps its marker when others join it
    return markers[(alike.index(backend) if backend in alike else _checksum(backend)) % len(markers)]


def _registered() -> dict[str, backends.Backend]:
    return {name: backends.load(name) for name in backends.names()}


def _is_ours(backend: backends.Backend) -> bool:
    return OURS in backend.packages


def _checksum(text: str) -> int:
    return zlib.crc32(text.encode())
