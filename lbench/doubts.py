"""Doubts: named reservations about an `ok` row, each with advice, and the rules that find them in samples."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from lbench.statistics import median, median_interval


class Doubt(StrEnum):
    """A reservation; rows keep its value, or `value: detail`."""

    OUTLIERS = "outliers"
    THERMAL_SLOWDOWN = "thermal slowdown"
    POWER_CAP = "power cap"
    FIRST_RUN_SLOW = "first run slow"
    TOO_SHORT = "too short"
    CLOCK_DRIFT = "clock drift"
    CLOCK_JUMP = "clock jump"
    L2_WARM = "L2 warm"
    HOST_BOUND = "host-bound"
    NOT_DETERMINISTIC = "not deterministic"
    UNEXPECTED_KERNEL = "unexpected kernel"
    OTHER_PROCESS = "another process"

    def told(self, detail: str = "") -> str:
        """As a row keeps it."""
        return f"{self.value}: {detail}" if detail else self.value

    @property
    def advice(self) -> str:
        """What to do about it."""
        return _ADVICE[self]


_ADVICE = {
    Doubt.OUTLIERS: "end other programs and measure again; the median stands, the spread is not the kernel's",
    Doubt.THERMAL_SLOWDOWN: "cool the card or the room, then measure again with --retry",
    Doubt.POWER_CAP: "normal for kernels that use the whole card; compare at one power limit only",
    Doubt.FIRST_RUN_SLOW: "raise warm_up_s in the suite's [stopping]; for calls above long_s, that too",
    Doubt.TOO_SHORT: "compare larger cases, or more tokens a call: the timer's own cost is part of this time",
    Doubt.CLOCK_DRIFT: "trust ratios (paired by round) more than the time itself; measure again",
    Doubt.CLOCK_JUMP: "the machine's clock was set, or the machine stood still; the median stands",
    Doubt.L2_WARM: "the inputs stay in the cache between calls; a larger case is cold",
    Doubt.HOST_BOUND: "the device waited for the host: a CUDA graph or a larger case shows the kernel",
    Doubt.NOT_DETERMINISTIC: "results differ from call to call; a fixed seed does not repeat a training",
    Doubt.UNEXPECTED_KERNEL: "a kernel of another backend ran beside its own; see the column of kernels",
    Doubt.OTHER_PROCESS: "end the other process on the device and measure again",
}


def advice(of_rows: Iterable[Sequence[str]]) -> list[str]:
    """How many rows have each doubt, and what to do about it, the most frequent first."""
    names = Counter(doubt.partition(":")[0] for doubts in of_rows for doubt in doubts)
    known = {doubt.value: doubt for doubt in Doubt}
    return [
        f"{name} in {count} row{'s' * (count > 1)}: {known[name].advice}"
        for name, count in names.most_common()
        if name in known
    ]


OUTLIER_SHARE = 0.05
"""More samples than this share far from the median are a doubt."""
FAR = 5.0
"""Far from the median: so many times 1.4826 x the median absolute deviation, and over 5 % of the median."""
JUMP = 100.0
"""A sample this many times the median is no outlier of the kernel."""
DRIFT = 0.05
"""Medians of rounds that lie further apart, beyond their own intervals, drifted."""
CLOCK_DRIFT_SHARE = 0.03
"""SM clocks of blocks that lie further apart drifted."""
SLOW_FIRST = 1.1
"""First samples of the rounds that are this many times the median of the others."""
SLOW_FIRST_LONG = 1.02
"""The same of long calls, which nothing warmed up; their times hardly vary."""
TIMER_COST_US = {"wall": 0.1, "events": 2.0, "graph": 0.0}
"""What a timer adds to a sample, about; a time under a hundred times that is too short for it."""


def of_samples(
    times_ms: Sequence[float],
    rounds: Sequence[int],
    blocks: Sequence[Mapping[str, Any]],
    timer: str,
    *,
    long: bool = False,
) -> tuple[str, ...]:
    """Doubts that a case's samples and the telemetry beside them raise, each told once.

    `long`: its rounds began without a warm-up.
    """
    doubts = [
        _jump(times_ms),
        _outliers(times_ms, rounds),
        _slow_first(times_ms, rounds, SLOW_FIRST_LONG if long else SLOW_FIRST),
        _too_short(times_ms, timer),
    ]
    doubts += [_drift(times_ms, rounds, blocks), _power_cap(blocks)]
    return tuple(doubt for doubt in doubts if doubt)


def parts(samples: Sequence[float], starts: Sequence[int]) -> list[Sequence[float]]:
    """Samples by round; `starts` holds the index at which each begins, () stands for one round."""
    bounds = [*(starts or (0,)), len(samples)]
    return [samples[first:last] for first, last in itertools.pairwise(bounds)]


def _jump(times_ms: Sequence[float]) -> str:
    longest, middle = max(times_ms), median(times_ms)
    if longest <= JUMP * middle:
        return ""
    return Doubt.CLOCK_JUMP.told(f"a sample of {longest:.4g} ms, {longest / middle:.0f} times the median")


def _outliers(times_ms: Sequence[float], rounds: Sequence[int]) -> str:
    # Within rounds: what lies between them is drift.
    middles = [(median(part), part) for part in parts(times_ms, rounds) if part]
    apart = [abs(time_ms - middle) for middle, part in middles for time_ms in part]
    limit = max(FAR * 1.4826 * median(apart), 0.05 * median(times_ms))
    far = sum(distance > limit for distance in apart)
    if far < 2 or far <= OUTLIER_SHARE * len(times_ms):
        return ""
    return Doubt.OUTLIERS.told(f"{far} of {len(times_ms)} samples are far from the median")


def _slow_first(times_ms: Sequence[float], rounds: Sequence[int], limit: float) -> str:
    split = [part for part in parts(times_ms, rounds) if len(part) > 1]
    if not split:
        return ""
    first = median([part[0] for part in split])
    rest = median([time_ms for part in split for time_ms in part[1:]])
    if first <= limit * rest:
        return ""
    return Doubt.FIRST_RUN_SLOW.told(f"first samples take {first / rest:.2f} times the others")


def _too_short(times_ms: Sequence[float], timer: str) -> str:
    cost_us = TIMER_COST_US.get(timer, 0.0)
    middle_us = median(times_ms) * 1e3
    if middle_us >= 100 * cost_us:
        return ""
    return Doubt.TOO_SHORT.told(f"{middle_us:.3g} us, the timer itself costs about {cost_us:g} us")


def _drift(times_ms: Sequence[float], rounds: Sequence[int], blocks: Sequence[Mapping[str, Any]]) -> str:
    clocks = [block["sm_mhz"] for block in blocks if block.get("sm_mhz")]
    if clocks and max(clocks) - min(clocks) > CLOCK_DRIFT_SHARE * max(clocks):
        return Doubt.CLOCK_DRIFT.told(f"SM clock from {max(clocks)} to {min(clocks)} MHz")
    split = [part for part in parts(times_ms, rounds) if len(part) > 1]
    if len(split) < 2:
        half = len(times_ms) // 2
        split = [times_ms[:half], times_ms[half:]] if half > 2 else []
    if not split:
        return ""
    fast, slow = min(split, key=median), max(split, key=median)
    if median(slow) <= (1 + DRIFT) * median(fast) or median_interval(slow)[0] <= median_interval(fast)[1]:
        return ""
    return Doubt.CLOCK_DRIFT.told(f"rounds from {median(fast):.4g} to {median(slow):.4g} ms")


def _power_cap(blocks: Sequence[Mapping[str, Any]]) -> str:
    capped = sum("power cap" in block.get("slowdown", "") for block in blocks)
    return Doubt.POWER_CAP.told(f"in {capped} of {len(blocks)} blocks") if capped else ""
