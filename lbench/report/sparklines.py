"""Sparklines: a series in one character a value, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
ASCII_BARS = "_.-=+*#@"
GAP, NONE = " ", "x"


def sparkline(values: Sequence[float | None], low: float, high: float, bars: str = BARS) -> str:
    """Heights by the logarithm of each value between `low` and `high`.

    NaN is a case that has no value and shown as `x`, None was not tried and leaves a gap.
    """
    return "".join(_bar(value, low, high, bars) for value in values)


def bars_for(encoding: str | None) -> str:
    """Bars that a terminal of this encoding can show."""
    try:
        BARS.encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return ASCII_BARS
    return BARS


def _bar(value: float | None, low: float, high: float, bars: str) -> str:
    if value is None:
        return GAP
    if not (math.isfinite(value) and value > 0):
        return NONE
    if high <= low:
        return bars[0]
    share = math.log(value / low) / math.log(high / low)
    return bars[min(max(round(share * (len(bars) - 1)), 0), len(bars) - 1)]
