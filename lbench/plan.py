"""What a sweep will take before it is run, and which cases fit into the time that is given for all of it.

A prediction rests on the best there is: shorter lengths of the same series; else the mechanism's arithmetic
and bytes, times what rows of the same backend, else of the sweep, took over such a guess; else the bare guess
of a machine nothing is known about. It is made anew for every case, so it gets better as rows land.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lbench import floors
from lbench.case import Case
from lbench.durations import format_duration
from lbench.prediction import check_calls, continued, gib, predicted_memory_bytes, series_of, work
from lbench.protocol import Stopping
from lbench.results import Row
from lbench.statistics import median

ARITHMETIC_FLOP_S = {"cuda": {"bf16": 2e14, "fp16": 2e14, "fp32": 2e13}, "cpu": {}}
CPU_FLOP_S = 5e10
MODEL_FLOP_S = {"bf16": 4e14, "fp16": 4e14, "fp32": 4e13}
"""What whole models reach on a GPU: their time goes to large matrix products."""
LAUNCH_S = {"cuda": 2e-5, "cpu": 2e-4}
FIRST_GUESS = 2.0
"""Times its floor that a call takes, before anything is known."""
MEMORY_GUESS = 2.0
"""Times the least memory."""
MODEL_GUESS = 1.0
"""Of models both are told by their parts."""
COMPILED_S = 40.0
"""torch.compile around the blocks of a model, the first time a sweep meets them at so many tokens."""
FOUND_S = 10.0
"""The same in another backend's process: what the first one compiled is found on the disk."""
START_UP_S = {"cuda": 15.0, "cpu": 4.0}
"""Before the first case of a backend: its process, its packages, its kernels' compilation."""
CASE_S = 1.0
"""What a case takes apart from start-up and samples."""
MODEL_CASE_S = 3.0
"""What a case of a model takes beside its calls: mixers verified at their shape, weights for each round."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What one case will take."""

    call_s: float
    wall_s: float
    memory_bytes: float
    """Inputs and peak together."""
    basis: str
    """What it rests on, in words."""

    def __str__(self) -> str:
        return f"{format_duration(self.wall_s)} and {gib(self.memory_bytes)} ({self.basis})"


class Plan:
    """Predicts cases and keeps count of the time that is left for them."""

    def __init__(
        self,
        stopping: Stopping,
        copy_bandwidth_gb_s: float,
        budget_s: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stopping, self.budget_s = stopping, budget_s
        self._bandwidth = copy_bandwidth_gb_s * 1e9
        self._now = now
        self._started_s: float | None = None
        self._promised: dict[str, float] = {}
        self._met: set[str] = set()
        self._compiled: set[tuple[str, tuple[object, ...]]] = set()

    def predict(self, case: Case, rows: Iterable[Row]) -> Prediction:
        """What `case` will take, given the rows there are."""
        measured = [row for row in rows if row.case.device == case.device and row.memory]
        measured = [row for row in measured if floors.are_known(row.case)]
        series = series_of(case, measured)
        timed = [row for row in measured if row.times_ms]
        call_s, basis = self._call_s(case, [row for row in series if row.times_ms], timed)
        memory = predicted_memory_bytes(case, series)
        return Prediction(
            call_s=call_s,
            wall_s=self._start_up_s(case, measured)
            + self._rest_s(case, call_s, series, timed)
            + self._sampling_s(call_s),
            memory_bytes=memory
            or _least_bytes(case) * _ratio(case, measured, _memory_over, _guess(case, MEMORY_GUESS))[0],
            basis=basis,
        )

    def reason_to_skip(self, case: Case, rows: Iterable[Row]) -> str | None:
        """Why `case` does not fit into what is left of the budget; where it does, its time is set aside."""
        if self.budget_s is None:
            self._let_in(case)
            return None
        if self._started_s is None:
            self._started_s = self._now()
        prediction = self.predict(case, rows)
        left_s = self.budget_s - (self._now() - self._started_s) - sum(self._promised.values())
        if prediction.wall_s > left_s:
            left = format_duration(max(left_s, 0.0))
            return f"predicted to take {prediction}; {left} of the {format_duration(self.budget_s)} are left"
        self._promised[case.key] = prediction.wall_s
        self._let_in(case)
        return None

    def _let_in(self, case: Case) -> None:
        self._met.add(case.backend)
        if case.compile == "on":
            self._compiled.add((case.backend, _compiled_for(case)))

    def landed(self, case: Case) -> None:
        """The case has its row: the clock has what it took, so nothing is set aside for it any more."""
        self._promised.pop(case.key, None)

    def _call_s(self, case: Case, series: list[Row], timed: list[Row]) -> tuple[float, str]:
        points = [(row.case, median(row.times_ms) * 1e-3) for row in series]
        if (seconds := continued(points, case, self._floor_s if case.model else work)) is not None:
            return seconds, f"from {len(points)} shorter length{'s' * (len(points) > 1)}"
        factor, basis = _ratio(case, timed, self._time_over, _guess(case, FIRST_GUESS))
        return self._floor_s(case) * factor, basis

    def _sampling_s(self, call_s: float) -> float:
        """Warm-up and samples."""
        least_s = self.stopping.calls(call_s) * call_s
        most_s = self.stopping.most_samples(call_s) * call_s
        return max(least_s, min(self.stopping.budget_s, most_s))

    def _rest_s(self, case: Case, call_s: float, series: list[Row], timed: list[Row]) -> float:
        """What goes to neither start-up nor samples: inputs, compilation, checks, energy."""
        rests = {row.case.key: self._rest_of(row) for row in timed}
        # The first length of a series pays for what a library does once.
        later = [(row.case, rests[row.case.key]) for row in series if row.case.key in rests][1:]
        if (seconds := continued(later, case, work)) is not None:
            return seconds
        alike = [rests[row.case.key] for row in timed if row.case.backend == case.backend]
        calls_s = check_calls(case, call_s, self.stopping) * call_s
        if alike or rests:
            return max(statistics.median(alike or rests.values()), calls_s)
        if case.model:
            return MODEL_CASE_S + calls_s + self._compiling_s(case)
        return max(CASE_S, calls_s)

    def _compiling_s(self, case: Case) -> float:
        """What torch.compile takes; nothing where the backend's process has compiled this already."""
        blocks = _compiled_for(case)
        if case.compile != "on" or (case.backend, blocks) in self._compiled:
            return 0.0
        return FOUND_S if any(known == blocks for _, known in self._compiled) else COMPILED_S

    def _rest_of(self, row: Row) -> float:
        if row.spent:
            elsewhere = ("start_up", "warm_up", "sampling")
            return sum(seconds for name, seconds in row.spent.items() if name not in elsewhere)
        return max((row.wall_s or 0.0) - self._sampling_s(median(row.times_ms) * 1e-3), 0.05)

    def _start_up_s(self, case: Case, rows: list[Row]) -> float:
        """The backend's process and packages, before its first case; nothing once a case of it was let in."""
        if case.backend in self._met or any(row.case.backend == case.backend for row in rows):
            return 0.0
        seen = [row.spent.get("start_up", 0.0) for row in rows]
        return max(seen, default=START_UP_S[case.device])

    def _floor_s(self, case: Case) -> float:
        bytes_s = floors.floor_bytes(case) / self._bandwidth + LAUNCH_S[case.device]
        if case.model and case.device == "cuda":
            return floors.executed_flops(case) / MODEL_FLOP_S[case.dtype] + bytes_s
        rate = ARITHMETIC_FLOP_S[case.device].get(case.dtype, CPU_FLOP_S)
        return floors.useful_flops(case) / rate + bytes_s

    def _time_over(self, row: Row) -> float:
        return median(row.times_ms) * 1e-3 / self._floor_s(row.case)


def _ratio(case: Case, rows: list[Row], over: Callable[[Row], float], guess: float) -> tuple[float, str]:
    """The median of measured over floor, of the rows most like the case, and which those are."""
    for fields, basis in (
        (("backend", "pass_name"), "from other shapes of the backend"),
        (("backend",), "from other passes of the backend"),
        (("device",), "from other backends"),
    ):
        alike = [over(row) for row in rows if all(getattr(row.case, f) == getattr(case, f) for f in fields)]
        if alike:
            return statistics.median(alike), basis
    return guess, "a first guess"


def _compiled_for(case: Case) -> tuple[object, ...]:
    """What a model's blocks are compiled for, whoever mixes: at any length a step's tokens are one row."""
    return case.mechanism, case.model, case.body, case.pass_name, case.dtype, case.tokens


def _guess(case: Case, of_mixers: float) -> float:
    return MODEL_GUESS if case.model else of_mixers


def _used_bytes(row: Row) -> float:
    return row.memory["inputs"] + row.memory["peak"]


def _least_bytes(case: Case) -> float:
    return floors.least_memory_bytes(case)


def _memory_over(row: Row) -> float:
    return _used_bytes(row) / _least_bytes(row.case)
