"""Is anything slower than the baseline? Judged case by case, with false alarms held down over the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lbench.errors import UsageError
from lbench.gates.constancy import BROKEN
from lbench.gates.evidence import (
    CLOSE,
    FALSE_ALARMS,
    LEAST_PROCESSES,
    LEAST_TO_FAIL,
    SPENT,
    Difference,
    Table,
    difference,
    expected,
    mean,
    pooled,
)
from lbench.gates.moderation import Prior, prior_of
from lbench.gates.processes import Side, log_time, read, sampling_variance
from lbench.gates.refusals import notes, refuse_other_machine
from lbench.gates.sessions import Layout, share_of
from lbench.gates.verdict import Finding, Outcome, Report
from lbench.ratios import percent
from lbench.results import Row

__all__ = ["Options", "check", "compared", "read"]

RULE = (
    "medians of processes, Student's t with variances moderated over the table; slower (faster) where the "
    "interval at a one-sided {alpha:g} / {cases}, over m (m - 1) for m processes, excludes 1 (at most "
    "{share} of clean runs fail, however often one measures again) and every one of {least} or more "
    "processes confirms it; same or no slower where the 90 % interval, or its upper end alone, lies within "
    "{margin} of the baseline"
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a table is judged."""

    margin: float = 0.03
    """Changes within this share count as the same."""
    widest: float = 0.10
    """A case too noisy for the margin passes by the smallest one that its baseline can hold, up to this."""
    across_machines: bool = False
    """Compare floor shares, not times."""
    tables: int = 1
    """Comparisons that share the control of false alarms: those with older baselines count."""

    def __post_init__(self) -> None:
        for name, value in (("margin", self.margin), ("widest", self.widest)):
            if not 0 < value < 1:
                raise UsageError(f"--{name} {value}; a share such as 0.03 (3 %)")

    def edges(self, held: float) -> tuple[float, float]:
        """Logarithms: the margin, and the one that a case with a baseline holding `held` may pass by."""
        edge = math.log1p(self.margin)
        return edge, max(edge, min(held, math.log1p(self.widest)))


def check(new: Side, old: Side, options: Options | None = None) -> Report:
    """Judges every case of both sides. UsageError where they cannot be compared."""
    options = options or Options()
    both = [key for key in new.rows if key in old.rows]
    if not both:
        raise UsageError(f"{new.name} and {old.name} have no case in common")
    refuse_other_machine(new, old, both, options.across_machines)
    findings = [told for key in both if (told := _not_compared(new.rows[key], old.rows[key], old))]
    left = {finding.subject for finding in findings}
    keys = [key for key in both if key not in left]
    findings += compared(new, old, keys, options)
    findings += _only(new, old)
    rule = RULE.format(
        alpha=SPENT / options.tables,
        share=percent(FALSE_ALARMS),
        cases=max(len(keys), 1),
        margin=percent(options.margin),
        least=LEAST_TO_FAIL,
    )
    return Report(
        gate="regression",
        rule=rule,
        findings=tuple(findings),
        notes=tuple(notes(new, old, both, options.across_machines)),
    )


def compared(new: Side, old: Side, keys: Sequence[str], options: Options) -> list[Finding]:
    """A finding for each of the cases, which both sides have times of."""
    logs = {key: [_logs(side, key, options.across_machines) for side in (new, old)] for key in keys}
    layouts = {
        key: Layout.of(*([row.started_at for row in _timed(side, key)] for side in (new, old)))
        for key in keys
    }
    share = share_of((logs[key][1], layouts[key].old) for key in keys)
    table = Table(prior=_prior([pooled(*sides) for sides in logs.values()]), share=share)
    alone = Table(prior=_prior([pooled(old_logs) for _, old_logs in logs.values()]), share=share)
    found = []
    for key, (new_logs, old_logs) in logs.items():
        layout = layouts[key]
        least = mean([sampling_variance(row) for row in _timed(new, key)])
        seen = difference(new_logs, old_logs, least, table, layout)
        # From the baseline alone: a margin that the side under test could move would test nothing.
        held = held_edge(expected(old_logs, alone, layout))
        found.append(_finding(key, seen, len(keys) * options.tables, options.edges(held)))
    return found


def _prior(variances: Sequence[tuple[float, int]]) -> Prior:
    return prior_of([variance for variance, _ in variances], [freedom for _, freedom in variances])


def _timed(side: Side, key: str) -> list[Row]:
    return [row for row in side.rows[key] if row.times_ms]


def held_edge(baseline: Difference) -> float:
    """The smallest margin (a logarithm) within which two clean processes end nine times in ten."""
    return baseline.half(CLOSE, LEAST_TO_FAIL) + baseline.half(0.1, LEAST_TO_FAIL)


def _logs(side: Side, key: str, across_machines: bool) -> list[float]:
    """Of each process the logarithm of its time, or of its time over the memory floor of its machine."""
    timed = _timed(side, key)
    if not across_machines:
        return [log_time(row) for row in timed]
    floors_ms = [side.floor_ms(row) for row in timed]
    if any(math.isnan(floor_ms) for floor_ms in floors_ms):
        raise UsageError(f"{side.name}: a run measured no copy bandwidth, so {key} has no floor share")
    return [log_time(row) - math.log(floor_ms) for row, floor_ms in zip(timed, floors_ms, strict=True)]


def _finding(key: str, seen: Difference, cases: int, edges: tuple[float, float]) -> Finding:
    half = seen.half(seen.level(cases))
    could_see = math.expm1(min(seen.could_see(cases), 700.0))
    ratio, low, high = (math.exp(seen.log + shift) for shift in (0.0, -half, half))
    state, outcome = state_of(seen, cases, edges)
    reason = f"{ratio:.3f} times ({low:.3f} to {high:.3f}), could see {percent(could_see)}"
    if edges[1] > edges[0]:
        reason += f", guarded at {percent(math.expm1(edges[1]))}"
    more = more_processes(seen, cases, edges[1]) if outcome == "undecided" else None
    return Finding(
        subject=key,
        state=state,
        outcome=outcome,
        reason=reason + (f"; {_asked(seen, cases, more)}" if outcome == "undecided" else ""),
        figures={
            "ratio": ratio,
            "low": low,
            "high": high,
            "could_see": could_see,
            "margin": math.expm1(edges[1]),
            "processes": seen.new,
            "baseline_processes": seen.old,
            "more": more,
        },
    )


def state_of(seen: Difference, cases: int, edges: tuple[float, float]) -> tuple[str, Outcome]:
    """The state and the outcome of one case among so many; `edges` are those of `Options.edges`.

    The wide one lets a case pass that nothing speaks against; it excuses no slowdown that was seen.
    """
    # Sameness needs no correction for the number of cases: to call a changed case the same is no false alarm.
    close = seen.half(CLOSE)
    if abs(seen.log) + close <= edges[0]:
        return "same", "pass"
    if seen.exceeds(cases):
        return ("slower", "fail") if seen.confirmed(cases) else ("undecided", "undecided")
    if seen.log < -seen.half(seen.level(cases)):
        return "faster", "pass"
    return ("no slower", "pass") if seen.log + close <= edges[1] else ("undecided", "undecided")


def more_processes(seen: Difference, cases: int, edge: float) -> int | None:
    """How many more an undecided case asks for; None where it is the baseline that needs more."""
    if seen.exceeds(cases) or seen.new < LEAST_TO_FAIL:
        return 1
    count = seen.needed(edge)
    return None if count is None else count - seen.new


def _asked(seen: Difference, cases: int, more: int | None) -> str:
    if seen.exceeds(cases) and seen.new < LEAST_TO_FAIL:
        return "slower in its one process, which a second one must confirm"
    if seen.exceeds(cases):
        return "slower, but not in every process alone: one more"
    if more is None:
        return f"too noisy for {seen.old} processes in the baseline: add to it, or allow more with --widest"
    return f"{more} more process{'es' * (more > 1)} would decide it"


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
