"""Scales and ticks: lengths as 1k, 2k ..., logarithms as plain numbers."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from lbench.lengths import format_length
from lbench.plot.labels import thin
from lbench.plot.layout import Place, text_width
from lbench.plot.series import Panel
from lbench.plot.style import GRID
from lbench.report.values import RELATIVE, Axis

LEAST_RATIO = 8.0
"""A logarithmic axis spans at least this ratio, so that noise does not look like growth."""
SUFFIXES = ((1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e5, 1e3, "k"))
"""(from here on, divided by this, suffix)"""


def set_up(ax: Axes, panel: Panel, wanted: Axis, place: Place) -> None:
    """Scales, limits, ticks and grid of one panel."""
    ax.set_axisbelow(True)
    ax.grid(color=GRID, linewidth=0.6)
    _lengths(ax, panel, place)
    fits = text_width(wanted.title) <= place.top - place.bottom
    ax.set_ylabel(wanted.title if fits else wanted.unit, labelpad=3)  # the figure's title says the rest
    finite = _all_values(panel)
    if not len(finite):
        ax.yaxis.set_major_locator(NullLocator())
        return
    if wanted.log:
        _logarithmic(ax, finite)
    else:
        ax.set_ylim(0.0, float(finite.max()) * 1.06 or 1.0)
    ax.yaxis.set_minor_formatter(NullFormatter())
    sign = "\u00d7" if wanted.metric == RELATIVE else ""
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value) + sign))


def short(value: float) -> str:
    """A tick's number without an exponent: 0.01, 20, 5,000, 100k, 50M. (A length's 1k is 1024.)"""
    for least, size, suffix in SUFFIXES:
        if abs(value) >= least:
            return f"{value / size:.4g}{suffix}"
    return f"{value:.0e}" if 0 < abs(value) < 1e-4 else f"{value:,.5g}"


def limits(lengths: tuple[int, ...]) -> tuple[float, float]:
    """The horizontal axis's ends: a third of a doubling beyond the lengths."""
    return lengths[0] / 2**0.35, lengths[-1] * 2**0.35


def _lengths(ax: Axes, panel: Panel, place: Place) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xlim(*limits(panel.lengths))
    low, high = (math.log2(end) for end in ax.get_xlim())
    lengths = _told(panel.lengths)
    centres = [(math.log2(n) - low) / (high - low) * (place.right - place.left) for n in lengths]
    names = [format_length(length) for length in lengths]
    kept = thin(centres, [text_width(name) for name in names], gap=0.06)
    ax.xaxis.set_major_locator(FixedLocator([lengths[index] for index in kept]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_length(round(value))))
    ax.xaxis.set_minor_locator(FixedLocator(list(panel.lengths)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="x", which="minor", length=1.5)


def _told(lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Those that ticks name: powers of two, where these are most and reach the end."""
    powers = tuple(length for length in lengths if length & (length - 1) == 0)
    return powers if 2 * len(powers) > len(lengths) and powers[-1] == lengths[-1] else lengths


def _logarithmic(ax: Axes, finite: np.ndarray) -> None:
    positive = finite[finite > 0]
    if not len(positive):
        ax.set_ylim(-0.05, 1.0)
        return
    low, high = float(positive.min()), float(positive.max())
    widen = max(1.0, (LEAST_RATIO / (high / low)) ** 0.5)
    low, high = low / widen, high * widen
    margin = (high / low) ** 0.05
    if len(positive) < len(finite):
        ax.set_yscale("symlog", linthresh=low, linscale=0.3)
        ax.set_ylim(-low * 0.1, high * margin)
        return
    ax.set_yscale("log")
    ax.set_ylim(low / margin, high * margin)
    decades = math.log10(high / low)
    subs = (1.0, 2.0, 5.0) if decades < 2.2 else (1.0,)
    ax.yaxis.set_major_locator(LogLocator(base=10, subs=subs, numticks=20))
    ax.yaxis.set_minor_locator(LogLocator(base=10, subs=tuple(range(2, 10)), numticks=20))
    ax.tick_params(axis="y", which="minor", length=1.5, width=0.4)


def _all_values(panel: Panel) -> np.ndarray:
    parts = [one.points[["y", "low", "high"]].to_numpy().ravel() for one in panel.drawn]
    parts.append(panel.bound.to_numpy())
    merged = np.concatenate(parts).astype(float)
    return merged[np.isfinite(merged)]
