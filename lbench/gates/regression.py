"""Is anything slower than the baseline? Judged case by case, with false alarms held down over the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lbench.errors import UsageError
from lbench.gates.constancy import BROKEN
from lbench.gates.moderation import NOTHING, Prior, prior_of
from lbench.gates.processes import (
    PROTOCOL,
    Side,
    differences,
    log_time,
    read,
    sampling_variance,
    software_differences,
)
from lbench.gates.verdict import Finding, Outcome, Report
from lbench.ratios import POWER, percent
from lbench.results import Row
from lbench.statistics import t_quantile, t_shift

__all__ = ["FALSE_ALARMS", "LEAST_PROCESSES", "Difference", "check", "difference", "read"]

FALSE_ALARMS = 0.01
"""At most this share of clean runs may fail, whatever the number of cases."""
SPENT = FALSE_ALARMS / 2
"""What the intervals are made for; the other half is for what their model leaves out: long tails, drift."""
LEAST_PROCESSES = 5
SESSION = timedelta(hours=1)
RULE = (
    "medians of processes, Student's t with variances moderated over the table; slower (faster) where the "
    "interval at a one-sided {alpha:g} / {cases} excludes 1 (Bonferroni over the cases: at most {share} of "
    "clean runs fail); same where the 95 % interval lies within {margin} of the baseline"
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The logarithm of new over old, its standard error and its degrees of freedom."""

    log: float
    error: float
    freedom: int

    def half(self, tail: float) -> float:
        """Half the interval that leaves `tail` out at either end."""
        return t_quantile(1 - tail, self.freedom) * self.error


def check(new: Side, old: Side, margin: float = 0.03, across_machines: bool = False) -> Report:
    """Judges every case of both sides. UsageError where they cannot be compared."""
    if not 0 < margin < 1:
        raise UsageError(f"--margin {margin}; a share such as 0.03 (3 %)")
    both = [key for key in new.rows if key in old.rows]
    if not both:
        raise UsageError(f"{new.name} and {old.name} have no case in common")
    _refuse_other_machine(new, old, both, across_machines)
    findings = [told for key in both if (told := _not_compared(new.rows[key], old.rows[key], old))]
    left = {finding.subject for finding in findings}
    keys = [key for key in both if key not in left]
    findings += _compared(new, old, keys, margin, across_machines)
    findings += _only(new, old)
    rule = RULE.format(
        alpha=SPENT, share=percent(FALSE_ALARMS), cases=max(len(keys), 1), margin=percent(margin)
    )
    return Report(
        gate="regression",
        rule=rule,
        findings=tuple(findings),
        notes=tuple(_notes(new, old, both, across_machines)),
    )


def difference(
    new: Sequence[float], old: Sequence[float], least: float, prior: Prior = NOTHING
) -> Difference:
    """From the logarithms of processes; `least` is a variance that samples alone show."""
    variance, freedom = prior.moderated(*pooled(new, old))
    error = math.sqrt(max(variance, least) * (1 / len(new) + 1 / len(old)))
    return Difference(log=_mean(new) - _mean(old), error=error, freedom=freedom)


def pooled(*sides: Sequence[float]) -> tuple[float, int]:
    """The variance within the sides, and its degrees of freedom."""
    freedom = sum(len(side) - 1 for side in sides)
    squares = math.fsum((value - _mean(side)) ** 2 for side in sides for value in side)
    return (squares / freedom if freedom else 0.0), freedom


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _compared(
    new: Side, old: Side, keys: Sequence[str], margin: float, across_machines: bool
) -> list[Finding]:
    logs = {key: (_logs(new, key, across_machines), _logs(old, key, across_machines)) for key in keys}
    variances = [pooled(*sides) for sides in logs.values()]
    prior = prior_of([variance for variance, _ in variances], [freedom for _, freedom in variances])
    found = []
    for key, (new_logs, old_logs) in logs.items():
        timed = [row for row in new.rows[key] if row.times_ms]
        least = _mean([sampling_variance(row) for row in timed])
        seen = difference(new_logs, old_logs, least, prior)
        found.append(_finding(key, seen, len(keys), margin, len(old_logs)))
    return found


def _logs(side: Side, key: str, across_machines: bool) -> list[float]:
    """Of each process the logarithm of its time, or of its time over the memory floor of its machine."""
    timed = [row for row in side.rows[key] if row.times_ms]
    if not across_machines:
        return [log_time(row) for row in timed]
    floors_ms = [side.floor_ms(row) for row in timed]
    if any(math.isnan(floor_ms) for floor_ms in floors_ms):
        raise UsageError(f"{side.name}: a run measured no copy bandwidth, so {key} has no floor share")
    return [log_time(row) - math.log(floor_ms) for row, floor_ms in zip(timed, floors_ms, strict=True)]


def _finding(key: str, seen: Difference, cases: int, margin: float, processes: int) -> Finding:
    half = seen.half(SPENT / cases)
    near = seen.half(0.025)
    edge = math.log1p(margin)
    could_see = math.expm1(t_shift(2 * SPENT / cases, POWER, seen.freedom) * seen.error)
    ratio, low, high = (math.exp(seen.log + shift) for shift in (0.0, -half, half))
    state, outcome = _state(seen.log, half, near, edge)
    return Finding(
        subject=key,
        state=state,
        outcome=outcome,
        reason=f"{ratio:.3f} times ({low:.3f} to {high:.3f}), could see {percent(could_see)}",
        figures={
            "ratio": ratio,
            "low": low,
            "high": high,
            "could_see": could_see,
            "baseline_processes": processes,
        },
    )


def _state(log: float, half: float, near: float, edge: float) -> tuple[str, Outcome]:
    # Sameness needs no correction for the number of cases: to call a changed case the same is no false alarm.
    if abs(log) + near <= edge:
        return "same", "pass"
    if log - half > 0:
        return "slower", "fail"
    return ("faster", "pass") if log + half < 0 else ("undecided", "undecided")


def _not_compared(new: Sequence[Row], old: Sequence[Row], side: Side) -> Finding | None:
    """What is to say of a case without a comparison; None where there can be one."""
    key = new[0].case.key
    before = [row for row in old if row.times_ms]
    broken = [row for row in new if row.verdict in BROKEN]
    if not before:
        now = "; ".join(sorted({row.verdict for row in new}))
        return Finding(
            subject=key,
            state="new" if any(row.times_ms for row in new) else "same",
            outcome="pass",
            reason=f"{now}; the baseline has no time ({old[-1].verdict})",
        )
    if broken:
        reason = f"{broken[-1].verdict}: {broken[-1].reason}; the baseline has {len(before)} times"
        return Finding(subject=key, state="broken", outcome="fail", reason=reason)
    if not any(row.times_ms for row in new):
        reason = f"{new[-1].verdict}: {new[-1].reason}"
        return Finding(subject=key, state="undecided", outcome="undecided", reason=reason)
    if len(before) < LEAST_PROCESSES:
        reason = (
            f"{len(before)} of {LEAST_PROCESSES} processes in {side.name}; run it again with another --out"
        )
        return Finding(subject=key, state="undecided", outcome="undecided", reason=reason)
    return None


def _only(new: Side, old: Side) -> list[Finding]:
    """Cases of one side alone: told, not judged."""
    new_ones = [
        Finding(subject=key, state="new", outcome="pass", reason="not in the baseline")
        for key in new.rows
        if key not in old.rows
    ]
    return new_ones + [
        Finding(subject=key, state="missing", outcome="pass", reason="in the baseline alone")
        for key in old.rows
        if key not in new.rows
    ]


def _refuse_other_machine(new: Side, old: Side, keys: Sequence[str], across_machines: bool) -> None:
    found = differences(new, old, keys)
    told = {name: " / ".join(sorted(map(str, values))) for name, values in found.items()}
    if protocol := [f"{name}: {values}" for name, values in told.items() if name in PROTOCOL]:
        raise UsageError(
            f"timed by another protocol than the baseline ({'; '.join(protocol)}); take a new one"
        )
    if told and not across_machines:
        machine = "; ".join(f"{name}: {values}" for name, values in told.items())
        raise UsageError(
            f"measured on another machine than the baseline ({machine}); take a baseline here, or compare "
            f"floor shares with --across-machines"
        )


def _notes(new: Side, old: Side, keys: Sequence[str], across_machines: bool) -> list[str]:
    notes = [*new.problems, *old.problems]
    if across_machines:
        notes.append("compared are floor shares: times over the memory floor of the machine each ran on")
    for name, values in software_differences(new, old, keys).items():
        notes.append(f"{name} differs: {' / '.join(sorted(map(str, values)))}")
    starts = [_time(row) for key in keys for row in old.rows[key]]
    if max(starts) - min(starts) < SESSION:
        notes.append(
            "the baseline was measured within an hour: what varies between sessions is not in its intervals"
        )
    return notes


def _time(row: Row) -> datetime:
    return datetime.fromisoformat(row.started_at)
