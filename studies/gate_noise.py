"""Tables of processes whose noise comes from kept H100 rows, with episodes and drift that a script adds.

A process is the logarithm of a median, a case: noise of its samples (medians of bootstraps of consecutive
stretches of kept samples), plus what kept medians of one case differ by between sessions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lbench.gates.processes import log_time, read

LEAST_MS = 0.1
"""Shorter calls were timed by another timer in the older sessions."""
STRETCH = 5
DRAWS = 300

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What is drawn from."""

    sampling: Array
    """Of each kept row, deviations of the logarithm of its median."""
    between: Array
    """Deviations of a case between sessions, what a session shares taken out."""
    shared: Array
    """Deviations that all cases of a session share."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """A scenario; `heavy`, `episodes`, `case_episodes` and `drift` are scripted."""

    name: str
    between: float = 0.0
    """Times the kept differences between sessions."""
    heavy: float = 0.0
    """Share of processes whose noise is three times as large."""
    episodes: float = 0.0
    """Share of processes that are slowed down as a whole, by up to 10 %."""
    case_episodes: float = 0.0
    """Share of cases of a process that are slowed down alone, by up to 10 %."""
    drift: float = 0.0
    """What every later process takes longer by."""


BETWEEN = 0.3
"""Of the kept differences, which are between cards of one model: a gate stays on one card."""
SCENARIOS = (
    Noise(name="samples of kept rows alone"),
    Noise(name="0.3 of kept differences between sessions", between=BETWEEN),
    Noise(name="all of them (another card each time)", between=1.0),
    Noise(name="0.3, 1 process in 20 three times as noisy", between=BETWEEN, heavy=0.05),
    Noise(name="0.3, 1 process in 20 up to 10 % slower", between=BETWEEN, episodes=0.05),
    Noise(name="0.3, 2 % of cases up to 10 % slower", between=BETWEEN, case_episodes=0.02),
    Noise(name="0.3, each process 0.1 % slower than the last", between=BETWEEN, drift=0.001),
)


def pool_of(rows_from: Path, sessions: Sequence[Path], generator: np.random.Generator) -> Pool:
    """The pool from rows of a result folder, and from cases that several runs in `sessions` measured."""
    rows = [row for of_key in read(rows_from).rows.values() for row in of_key if len(row.times_ms) >= 10]
    rows = [row for row in rows if row.case.device == "cuda"]
    cases: dict[str, dict[str, float]] = {}
    for folder in sessions:
        for key, of_key in read(folder).rows.items():
            for row in of_key:
                if row.times_ms and math.exp(log_time(row)) >= LEAST_MS:
                    cases.setdefault(key, {})[row.run] = log_time(row)
    kept = {key: runs for key, runs in cases.items() if len(runs) > 1 and key.partition(",")[0] in UNCHANGED}
    shared, between = _split(kept)
    return Pool(
        sampling=np.stack([_deviations(row.times_ms, generator) for row in rows]),
        between=between,
        shared=shared,
    )


UNCHANGED = ("lightning_fla_chunk", "linear_fla_chunk")
"""Peers whose code was the same in all sessions; ours was not."""


def _deviations(times_ms: Sequence[float], generator: np.random.Generator) -> Array:
    """Medians of bootstraps of stretches of samples, so that drift within a row counts."""
    logs = np.log(np.asarray(times_ms))
    count = math.ceil(len(logs) / STRETCH)
    firsts = generator.integers(len(logs) - STRETCH + 1, size=(DRAWS, count))
    drawn = logs[firsts[:, :, None] + np.arange(STRETCH)].reshape(DRAWS, -1)
    return np.asarray(np.median(drawn, axis=1) - np.median(logs))


def _split(cases: dict[str, dict[str, float]]) -> tuple[Array, Array]:
    """What a session shares, and what remains, both widened by what taking out means narrows."""
    residuals: dict[str, list[float]] = {}
    for runs in cases.values():
        middle = float(np.mean(list(runs.values())))
        for run, log in runs.items():
            residuals.setdefault(run, []).append((log - middle) * math.sqrt(len(runs) / (len(runs) - 1)))
    medians = {run: float(np.median(values)) for run, values in residuals.items()}
    between = [value - medians[run] for run, values in residuals.items() for value in values]
    return np.array(list(medians.values())), np.array(between)


def session(
    pool: Pool, noise: Noise, chosen: Sequence[int], numbers: Sequence[int], generator: np.random.Generator
) -> Array:
    """Processes of one session over the chosen rows; `numbers` count all processes, for the drift."""
    shared = noise.between * (
        pool.between[generator.integers(len(pool.between), size=len(chosen))]
        + pool.shared[generator.integers(len(pool.shared))]
    )
    return shared + np.array([_process(pool, noise, chosen, generator) + noise.drift * n for n in numbers])


def _process(pool: Pool, noise: Noise, chosen: Sequence[int], generator: np.random.Generator) -> Array:
    logs = pool.sampling[chosen, generator.integers(DRAWS, size=len(chosen))].copy()
    if generator.random() < noise.heavy:
        logs *= 3
    if generator.random() < noise.episodes:
        logs += math.log1p(0.1 * generator.random())
    slowed = generator.random(len(logs)) < noise.case_episodes
    return np.asarray(logs + slowed * np.log1p(0.1 * generator.random(len(logs))))
