"""Where one time falls below another for good, resampled from raw samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lbench.gates.bootstrap import Array, resampled_ratio
from lbench.results import Row
from lbench.statistics import normal_quantile, t_quantile

SEED = 20261122
"""Of the bootstrap: the same rows always give the same interval."""
CONFIDENCE = 0.95
Sides = tuple[Row, Row]


def interval(
    pairs: Sequence[Sides], together: Sequence[bool]
) -> tuple[float | None, float | None, float | None]:
    """The crossing of rows at ascending lengths, and its interval; None for an end beyond these lengths.

    `together` says which pairs took turns. Deviations are widened from the normal quantile to Student's t.
    """
    generator = np.random.default_rng(SEED)
    tail = (1 - CONFIDENCE) / 2
    logs, replicates = [], []
    for (one, other), paired in zip(pairs, together, strict=True):
        samples = [(row.times_ms, row.rounds) for row in (one, other)]
        drawn = resampled_ratio(samples[0], samples[1], paired, generator)
        wider = t_quantile(1 - tail, drawn.rounds - 1) / normal_quantile(1 - tail)
        logs.append(drawn.log)
        replicates.append(drawn.log + wider * (drawn.replicates - drawn.log))
    lengths = [one.case.seq_len for one, _ in pairs]
    at = float(crossing(np.array([logs]), lengths)[0])
    found = crossing(np.stack(replicates, axis=1), lengths)
    low, high = (float(end) for end in np.quantile(found, (tail, 1 - tail), method="inverted_cdf"))
    return (
        at if 0 < at < math.inf else None,
        min(low, lengths[-1]) or None,
        max(high, lengths[0]) if high < math.inf else None,
    )


def crossing(logs: Array, lengths: Sequence[int]) -> Array:
    """Where lines of log ratios [R, N] fall below zero for good: lengths [R]; 0 or inf where outside [N]."""
    x = np.log(np.asarray(lengths, dtype=np.float64))
    above = logs >= 0
    last = logs.shape[1] - 1 - np.argmax(above[:, ::-1], axis=1)
    rows = np.arange(len(logs))
    following = np.minimum(last + 1, len(x) - 1)
    start, end = logs[rows, last], logs[rows, following]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = start / (start - end)
        found = np.exp(x[last] + (x[following] - x[last]) * share)
    found = np.where(last == len(x) - 1, math.inf, found)
    return np.where(above.any(axis=1), found, 0.0)
