"""What a case will take, foretold from the shorter lengths of the same series that were measured already."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable

from lbench import floors
from lbench.case import Case
from lbench.lengths import format_length
from lbench.protocol import Stopping
from lbench.results import Row
from lbench.statistics import median

CHECK_CALLS = 4
"""Calls apart from warm-up and samples: the first, the ledger's, the verified one, the attested one."""
LONG_CHECK_CALLS = 3
"""Of long calls the verified one is attested too."""
LONG_STEP_CALLS = 2
"""Of long training steps on a GPU the ledger's is compared with the first, and attested."""
STEEPEST = 2.2
"""No mechanism here grows faster than quadratically; a noisy pair of short lengths must not say so."""


def reason_to_skip(
    case: Case,
    measured: Iterable[Row],
    stopping: Stopping,
    timeout_s: float,
    memory_bytes: int | None,
    memory_is_safe: bool,
) -> str | None:
    """Why `case` would not end well, with the prediction; None where it should be tried.

    A shorter length that ran out of memory or time settles it. Where running out of memory is a clean error
    (`memory_is_safe`, a GPU), the first length predicted not to fit is tried all the same: only that makes it
    known where the limit lies.
    """
    related = [row for row in measured if is_shorter(row.case, case)]
    series = series_of(case, related)
    for row in related:
        if row.verdict in ("out_of_memory", "timeout"):
            return f"{row.verdict} already at {format_length(row.case.seq_len)}" + _memory_note(case, series)
    memory = predicted_memory_bytes(case, series)
    if memory is not None and memory_bytes is not None and memory > memory_bytes and not memory_is_safe:
        return f"predicted to need {gib(memory)} of {gib(memory_bytes)} memory"
    seconds = predicted_wall_s(case, series, stopping)
    if seconds is not None and seconds > timeout_s:
        return f"predicted to take {seconds:.0f} s, {timeout_s:.0f} s are allowed"
    return None


def predicted_memory_bytes(case: Case, series: list[Row]) -> float | None:
    """Inputs and peak together, extrapolated from the two longest lengths measured."""
    points = [(row.case, float(row.memory["inputs"] + row.memory["peak"])) for row in series if row.memory]
    return continued(points, case, floors.least_memory_bytes)


def predicted_wall_s(case: Case, series: list[Row], stopping: Stopping) -> float | None:
    """Warm-up, samples, verification and the calls before them, extrapolated likewise."""
    done = [row for row in series if row.times_ms]
    call_ms = continued([(row.case, median(row.times_ms)) for row in done], case, work)
    # A process loads the reference's kernels at its first case: one figure alone says nothing of growth.
    verified = [(row.case, row.verify_s) for row in done if row.verify_s]
    verify_s = continued(verified, case, work) if len(verified) > 1 else sum(s for _, s in verified)
    if call_ms is None:
        return None
    calls = stopping.calls(call_ms * 1e-3) + check_calls(case, call_ms * 1e-3, stopping)
    return calls * call_ms * 1e-3 + (verify_s or 0.0)


def check_calls(case: Case, call_s: float, stopping: Stopping) -> int:
    """Calls of a case apart from warm-up and samples, where one takes so long."""
    if not stopping.is_long(call_s):
        return CHECK_CALLS
    return LONG_STEP_CALLS if (case.pass_name, case.device) == ("train", "cuda") else LONG_CHECK_CALLS


def is_shorter(shorter: Case, case: Case) -> bool:
    """Whether it differs from `case` in a shorter length alone, at one batch or at one number of tokens."""
    if shorter.seq_len >= case.seq_len or not (shorter.batch == case.batch or shorter.tokens == case.tokens):
        return False
    return dataclasses.replace(shorter, batch=case.batch, seq_len=case.seq_len) == case


def series_of(case: Case, rows: Iterable[Row]) -> list[Row]:
    """Rows of shorter lengths with a memory ledger, ascending.

    Those at the same batch, or where there are none, at the same number of tokens.
    """
    measured = [row for row in rows if row.memory and is_shorter(row.case, case)]
    series = [row for row in measured if row.case.batch == case.batch] or measured
    return sorted(series, key=lambda row: row.case.seq_len)


def continued(
    points: Iterable[tuple[Case, float]], case: Case, least: Callable[[Case], float]
) -> float | None:
    """What cases of one series took (ascending in length), for a longer one; None where nothing is known.

    A power law through the last two. From one alone in proportion to the length, at constant tokens to
    `least` of both. Models are none, as their weights do not grow: from the last in proportion to `least`.
    """
    points = [(known, value) for known, value in points if value > 0]
    if not points:
        return None
    known, last = points[-1]
    if len(points) == 1 or case.model:
        by_length = not case.model and known.batch == case.batch
        grown = case.seq_len / known.seq_len if by_length else least(case) / least(known)
        return float(last * grown)
    shorter, value = points[-2]
    slope = math.log(last / value) / math.log(known.seq_len / shorter.seq_len)
    return float(last * (case.seq_len / known.seq_len) ** min(max(slope, 0.0), STEEPEST))


def work(case: Case) -> float:
    """What the time of a case grows with: FLOPs, in decoding bytes."""
    return float(floors.floor_bytes(case) if case.pass_name == "decode" else floors.executed_flops(case))


def _memory_note(case: Case, series: list[Row]) -> str:
    memory = predicted_memory_bytes(case, series)
    return "" if memory is None else f", predicted to need {gib(memory)}"


def gib(size_bytes: float) -> str:
    """A size in GiB, a small one in MiB."""
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**29 else f"{size_bytes / 2**20:.0f} MiB"
