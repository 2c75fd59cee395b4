"""How often `lbench check regression` fails clean tables, and finds slowdowns: `gate_curves.py OUT`.

Tables of 20 cases are drawn from kept H100 rows (see gate_noise.py), a baseline of five sessions and
one more under test, and judged by the gate's own functions. `--budget` is the gate that measures open cases
again, up to six processes; beside it stands what a fixed threshold of 5 % on one process does. Writes
curves.json and two figures; the seed is fixed.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import gate_figures
import numpy as np
from gate_noise import SCENARIOS, Noise, Pool, pool_of, session

from lbench.gates.evidence import Table, difference, expected, pooled
from lbench.gates.moderation import prior_of
from lbench.gates.regression import Options, held_edge, more_processes, state_of
from lbench.gates.sessions import Layout, share_of
from lbench.statistics import share_interval

RESULTS = Path(__file__).parent.parent / "results"
ROWS = RESULTS / "headline-h100-2026-11-22"
SESSIONS = (ROWS, RESULTS / "sessions-h100-2026-11-22")
CASES = 20
OPTIONS = Options()
FIXED = math.log1p(0.05)
MOST_PROCESSES = 6
SEED = 20261122
SLOWDOWNS = (0.01, 0.02, 0.03, 0.05, 0.10)


@dataclass(frozen=True, kw_only=True)
class Point:
    """What is counted: tables of one kind."""

    noise: Noise
    baseline: tuple[int, ...]
    """Processes of each of its sessions; those under test share one more."""
    new: int
    """Processes under test to begin with."""
    budget: bool = False
    """Open cases are measured again."""
    slowdown: float = 0.0
    """Of the first case of each table."""


def judged(under_test: np.ndarray, old: np.ndarray, sessions: tuple[int, ...], most: int) -> list[str]:
    """The state of each case (a column); open ones use up to `most` processes, if that is given."""
    used = [1 if most else len(under_test)] * CASES
    baselines = [list(old[:, case]) for case in range(CASES)]
    share = share_of((one, sessions) for one in baselines)
    alone = Table(prior=prior_of(*zip(*map(pooled, baselines), strict=True)), share=share)
    held = [held_edge(expected(one, alone, _layout(2, sessions))) for one in baselines]
    edges = [OPTIONS.edges(one) for one in held]
    while True:
        sides = [(list(under_test[: used[case], case]), one) for case, one in enumerate(baselines)]
        table = Table(prior=prior_of(*zip(*(pooled(*one) for one in sides), strict=True)), share=share)
        seen = [difference(*one, 0.0, table, _layout(len(one[0]), sessions)) for one in sides]
        states = [state_of(one, CASES, edge)[0] for one, edge in zip(seen, edges, strict=True)]
        further = [
            case
            for case, state in enumerate(states)
            if state == "undecided"
            and used[case] < most
            and more_processes(seen[case], CASES, edges[case][1])
        ]
        if not further:
            return states
        for case in further:
            used[case] += 1


def _layout(new: int, sessions: tuple[int, ...]) -> Layout:
    return Layout(new=(-1,) * new, old=sessions)


def count(point: Point, pool: Pool, tables: int, seed: int) -> Counter[str]:
    """How often which thing happened."""
    generator = np.random.default_rng(seed)
    found: Counter[str] = Counter()
    sessions = tuple(number for number, size in enumerate(point.baseline) for _ in range(size))
    for _ in range(tables):
        chosen = generator.choice(len(pool.sampling), size=CASES, replace=False)
        numbers = [[n for n, of in enumerate(sessions) if of == one] for one in range(len(point.baseline))]
        numbers.append([len(sessions) + n for n in range(MOST_PROCESSES if point.budget else point.new)])
        *parts, new = (session(pool, point.noise, chosen, of, generator) for of in numbers)
        old = np.concatenate(parts)
        new[:, 0] += math.log1p(point.slowdown)
        states = judged(new, old, sessions, MOST_PROCESSES if point.budget else 0)
        found["tables"] += 1
        found["fails"] += "slower" in states
        found["undecided"] += "slower" not in states and "undecided" in states
        found["cases undecided"] += states.count("undecided")
        found["slowed case fails"] += states[0] == "slower"
        found["slowed case undecided"] += states[0] == "undecided"
        single = new[0] - np.median(old, axis=0)
        found["fixed fails"] += bool((single > FIXED).any())
        found["slowed case fixed fails"] += bool(single[0] > FIXED)
    return found


def _counted(task: tuple[Point, Pool, int, int]) -> dict[str, object]:
    point, pool, tables, seed = task
    found = count(point, pool, tables, seed)
    low, high = share_interval(found["fails"], tables)
    return {
        "noise": point.noise.name,
        "baseline": len(point.baseline),
        "processes": sum(point.baseline),
        "new": point.new,
        "budget": point.budget,
        "slowdown": point.slowdown,
        **found,
        "fails_low": low,
        "fails_high": high,
    }


BASELINES = ((1,) * 5, (2,) * 5)
"""Five processes of five sessions, and twice as many."""


def points() -> list[tuple[Point, float]]:
    """All that is counted, with the share of the tables that each gets."""
    made = []
    for noise in SCENARIOS:
        for baseline in BASELINES:
            for new, budget in ((1, False), (2, False), (3, False), (1, True)):
                made.append((Point(noise=noise, baseline=baseline, new=new, budget=budget), 1.0))
    for noise in SCENARIOS[:3]:
        for baseline in BASELINES:
            made += [
                (Point(noise=noise, baseline=baseline, new=1, budget=True, slowdown=slowdown), 0.3)
                for slowdown in SLOWDOWNS
            ]
    return made


def main() -> None:
    """Counts, writes, draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=1, help="of this computer")
    given = parser.parse_args()
    pool = pool_of(ROWS, SESSIONS, np.random.default_rng(SEED))
    tasks = [
        (point, pool, max(int(share * given.tables), 20), SEED + index)
        for index, (point, share) in enumerate(points())
    ]
    with multiprocessing.Pool(given.processes) as workers:
        counted = workers.map(_counted, tasks, chunksize=1)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "curves.json").write_text(json.dumps(counted, indent=1) + "\n")
    for row in counted:
        shares = {key: f"{row[key] / row['tables']:.2%}" for key in ("fails", "undecided", "fixed fails")}
        print(row["noise"], row["processes"], row["new"], row["budget"], row["slowdown"], shares)
    gate_figures.draw(counted, given.out)


if __name__ == "__main__":
    main()
