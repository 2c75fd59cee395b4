"""What a sweep will take before it is run, and which cases fit into the time that is given for all of it.

A call is told by the best there is: shorter lengths of the same series; else the mechanism's arithmetic and
bytes, times what rows of the same backend, else of the sweep, took over such a guess; else the bare guess of
a machine nothing is known about. A case takes what each takes, by its calls, and what it is the first to pay
for: its worker's start, checks and compilation that later cases share. Rows tell both likewise. All is
predicted anew for every case, so it gets better as rows land.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from lbench import floors
from lbench.case import Case
from lbench.durations import format_duration
from lbench.prediction import check_calls, continued, gib, predicted_memory_bytes, series_of, work
from lbench.protocol import Stopping
from lbench.results import Row
from lbench.rotation import group_of, has_twin
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
START_UP_S = {"cuda": 8.0, "cpu": 4.0}
"""Before the first case of a backend: its process and its packages."""
COMPILED_S = 2.0
"""A mixer's kernels, the first time a worker meets its setting."""
MODEL_COMPILED_S = 15.0
"""torch.compile around the blocks of a model, the first time a sweep meets them at so many tokens."""
FOUND_S = 5.0
"""The same in another backend's process: what the first one compiled is found on the disk."""
CHECKED_S = 1.0
"""What the first case of a worker takes beyond a later one: libraries are loaded for its checks."""
MODEL_CHECKED_S = {"cuda": 20.0, "cpu": 2.0}
"""The whole model checked at tiny size, the first time a worker meets its pass and setting."""
ROUND_S = 0.1
"""What a round takes beside its samples and the calls before them: its clock, its graph."""
MARGIN = 1.1
"""Times what is predicted: a budget that is overrun is worse than one that is left unused."""
CASE_S = 1.0
"""What every case takes beside its calls: inputs, their ledger, the energy of a call."""
CHECKED_FLOORS = 400.0
"""Times the time that its bytes take to move, which the reference of a mixer needs."""
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
        self._members: Counter[tuple[Any, ...]] = Counter()
        """How many cases were let in, by group."""
        self._begun: dict[str, tuple[Any, ...]] = {}
        """Backends that were let in, and the group in which their workers began."""
        self._checked: set[tuple[object, ...]] = set()
        self._compiled: set[Case] = set()

    def predict(self, case: Case, rows: Iterable[Row]) -> Prediction:
        """What `case` will take, given the rows there are."""
        here = [row for row in rows if row.case.device == case.device and row.memory]
        here = [row for row in here if floors.are_known(row.case)]
        # Mixers are some way above their floor, whole models are told by their parts.
        measured = [row for row in here if bool(row.case.model) == bool(case.model)]
        series = series_of(case, measured)
        timed = [row for row in measured if row.times_ms]
        call_s, basis = self._call_s(case, [row for row in series if row.times_ms], timed)
        once_s = self._start_up_s(case, here) + self._once_s(case, timed) + self._twin_s(case, call_s, here)
        memory = predicted_memory_bytes(case, series)
        return Prediction(
            call_s=call_s,
            wall_s=MARGIN * (once_s + self._each_s(case, call_s) * self._factor(case, series, timed)),
            memory_bytes=memory
            or _least_bytes(case) * _alike(case, measured, _memory_over, _guess(case, MEMORY_GUESS))[0],
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
        others_s = sum(seconds for key, seconds in self._promised.items() if key != case.key)
        left_s = self.budget_s - (self._now() - self._started_s) - others_s
        if prediction.wall_s > left_s:
            left = format_duration(max(left_s, 0.0))
            return f"predicted to take {prediction}; {left} of the {format_duration(self.budget_s)} are left"
        self._promised[case.key] = prediction.wall_s
        self._let_in(case)
        return None

    def _let_in(self, case: Case) -> None:
        group = group_of(case)
        self._members[group] += 1
        self._begun.setdefault(case.backend, group)
        self._checked.add(_checked_for(case))
        self._compiled.add(_compiled_for(case))

    def ended(self, backends: Collection[str]) -> None:
        """Their workers have ended before their time: what these paid once, new ones pay again."""
        self._begun = {name: group for name, group in self._begun.items() if name not in backends}
        self._checked = {paid for paid in self._checked if paid[0] not in backends}
        self._compiled = {case for case in self._compiled if case.backend not in backends}

    def landed(self, case: Case) -> None:
        """The case has its row: the clock has what it took, so nothing is set aside for it any more."""
        self._promised.pop(case.key, None)

    def _call_s(self, case: Case, series: list[Row], timed: list[Row]) -> tuple[float, str]:
        points = [(row.case, median(row.times_ms) * 1e-3) for row in series]
        if (seconds := continued(points, case, self._floor_s if case.model else work)) is not None:
            return seconds, f"from {len(points)} shorter length{'s' * (len(points) > 1)}"
        factor, basis = _alike(case, timed, self._time_over, _guess(case, FIRST_GUESS))
        return self._floor_s(case) * factor, basis

    def _sampling_s(self, call_s: float) -> float:
        """Warm-up and samples: of short calls the time that is given for them."""
        rounds_s = self.stopping.rounds_of(call_s) * ROUND_S
        return max(self.stopping.calls(call_s) * call_s, self.stopping.budget_s) + rounds_s

    def _twin_s(self, case: Case, call_s: float, rows: list[Row]) -> float:
        """The A/A pair, of which the second case of a group makes one."""
        has_pair = any(row.twin for row in rows)
        if self._members[group_of(case)] != 1 or not has_twin(call_s, self.stopping, has_pair):
            return 0.0
        return self._sampling_s(call_s)

    def _each_s(self, case: Case, call_s: float) -> float:
        """A guess of what each case takes, whatever was paid for before it."""
        calls_s = check_calls(case, call_s, self.stopping) * call_s + self._sampling_s(call_s)
        if case.model:
            return MODEL_CASE_S + calls_s
        return CASE_S + calls_s + CHECKED_FLOORS * floors.floor_bytes(case) / self._bandwidth

    def _factor(self, case: Case, series: list[Row], timed: list[Row]) -> float:
        """Times that guess which cases took; one that paid for others too says only that it is not more."""
        alike = [row for row in timed if _spent_s(row)]
        checked = {row.case for row in _firsts(alike, _checked_for)}
        compiled = {row.case for row in _firsts(alike, _compiled_for)}

        def over(row: Row) -> float:
            once_s = _compile_s(row) if row.case in compiled else 0.0
            return (_spent_s(row) - once_s) / self._each_s(row.case, median(row.times_ms) * 1e-3)

        later = [row for row in alike if row.case not in checked]
        own = [row for row in series if row.case in {known.case for known in later}][-1:]
        if own or later:
            return _alike(case, own or later, over, 1.0)[0]
        return min(_alike(case, alike, over, 1.0)[0], 1.0)

    def _once_s(self, case: Case, timed: list[Row]) -> float:
        """What a case pays for later ones too, where none was let in that has paid for it."""
        rows = [row for row in timed if row.case.compile == case.compile]
        once_s = 0.0
        if _compiled_for(case) not in self._compiled:
            once_s += _alike(case, _firsts(rows, _compiled_for), _compile_s, self._compiling_s(case))[0]
        if _checked_for(case) not in self._checked:
            guess = MODEL_CHECKED_S[case.device] if case.model else CHECKED_S
            once_s += _alike(case, _firsts(rows, _checked_for), self._beyond_s, guess)[0]
        return once_s

    def _beyond_s(self, row: Row) -> float:
        """What a first case took beyond its compilation and what each takes."""
        each_s = self._each_s(row.case, median(row.times_ms) * 1e-3)
        return max(_spent_s(row) - _compile_s(row) - each_s, 0.0)

    def _compiling_s(self, case: Case) -> float:
        """A guess of what compilation takes, where nothing was compiled yet."""
        if not case.model:
            return COMPILED_S
        if case.compile != "on":
            return 0.0
        theirs = {dataclasses.replace(known, backend=case.backend) for known in self._compiled}
        return FOUND_S if _compiled_for(case) in theirs else MODEL_COMPILED_S

    def _start_up_s(self, case: Case, rows: list[Row]) -> float:
        """The backend's process and packages, before the first case of it that is let in."""
        beside = list(self._begun.values()).count(group_of(case))
        # Workers of a group begin side by side, so many at once as there are cores.
        if case.backend in self._begun or beside % (os.cpu_count() or 1):
            return 0.0
        seen = [row.spent["start_up"] for row in rows if "start_up" in row.spent]
        return max(seen, default=START_UP_S[case.device])

    def _floor_s(self, case: Case) -> float:
        bytes_s = floors.floor_bytes(case) / self._bandwidth + LAUNCH_S[case.device]
        if case.model and case.device == "cuda":
            return floors.executed_flops(case) / MODEL_FLOP_S[case.dtype] + bytes_s
        rate = ARITHMETIC_FLOP_S[case.device].get(case.dtype, CPU_FLOP_S)
        return floors.useful_flops(case) / rate + bytes_s

    def _time_over(self, row: Row) -> float:
        return median(row.times_ms) * 1e-3 / self._floor_s(row.case)


def _alike(case: Case, rows: list[Row], over: Callable[[Row], float], guess: float) -> tuple[float, str]:
    """The median of `over`, of the rows most like the case, and which those are."""
    for fields, basis in (
        (("backend", "pass_name"), "from other shapes of the backend"),
        (("backend",), "from other passes of the backend"),
        (("device",), "from other backends"),
    ):
        alike = [over(row) for row in rows if all(getattr(row.case, f) == getattr(case, f) for f in fields)]
        if alike:
            return statistics.median(alike), basis
    return guess, "a first guess"


def _checked_for(case: Case) -> tuple[object, ...]:
    """What the first case of a worker is checked for beside itself: of models the whole, at tiny size."""
    if not case.model:
        return (case.backend,)
    blocks = (case.attention, case.body, case.checkpoint, case.chunk > 0, case.compile)
    return (case.backend, case.pass_name, case.dtype, *blocks)


def _compiled_for(case: Case) -> Case:
    """What is compiled once: mixers at any length, blocks of models at a number of tokens, as one row."""
    return dataclasses.replace(case, batch=1, seq_len=case.tokens if case.compile == "on" else 1)


def _spent_s(row: Row) -> float:
    """What a case took without its worker's start."""
    if row.spent:
        return sum(seconds for name, seconds in row.spent.items() if name != "start_up")
    return row.wall_s or 0.0


def _firsts(rows: Iterable[Row], what: Callable[[Case], object]) -> list[Row]:
    """The first row of each run that paid for `what` its case needs."""
    found: dict[object, Row] = {}
    for row in rows:
        found.setdefault((row.run, what(row.case)), row)
    return list(found.values())


def _compile_s(row: Row) -> float:
    """What compilation took, in a worker's first case or in a later one."""
    return sum(row.compile.get(name, 0.0) for name in ("cold_s", "length_s"))


def _guess(case: Case, of_mixers: float) -> float:
    return MODEL_GUESS if case.model else of_mixers


def _used_bytes(row: Row) -> float:
    return row.memory["inputs"] + row.memory["peak"]


def _least_bytes(case: Case) -> float:
    return floors.least_memory_bytes(case)


def _memory_over(row: Row) -> float:
    return _used_bytes(row) / _least_bytes(row.case)
