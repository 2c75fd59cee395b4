"""Is time a token independent of length, and memory? Judged series by series."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lbench.gates.fit import Fit, Quantity, fit_bytes, fit_times
from lbench.gates.series import Series, series_of
from lbench.gates.verdict import Finding, Outcome, Report
from lbench.lengths import format_length
from lbench.limits import Limits
from lbench.metrics import METRICS
from lbench.results import Results, Row

RULE = (
    "time (bytes) a token ~ length^alpha from raw samples; pass: the 95 % interval inside the limits, fail: "
    "outside, else undecided; a length counts at batch 1 from a memory floor of fills_ms on"
)
FILLING = ", before the card is full"
BROKEN = frozenset({"wrong", "out_of_memory", "timeout", "crashed", "failed"})
LEAST_LENGTHS = 3
"""Two lengths can fail; to pass, a line needs a point to be tested on."""
LEAST_SPAN = 4
"""The longest length over the shortest."""
HOPELESS = 100
"""More than so many times the samples taken: the value sits on its limit."""
Judged = tuple[Outcome, str]


def check(results: Results, wanted: Iterable[Row], replaced: Mapping[str, float] | None = None) -> Report:
    """Judges every series among the wanted rows; `replaced` limits stand over those of a row's suite."""
    findings, notes = [], []
    for one in series_of(wanted):
        verdicts = {row.verdict for row in one.rows}
        if verdicts <= {"unsupported", "unavailable"}:
            notes.append(f"{one.title}: {', '.join(sorted(verdicts))}, left out")
            continue
        run = results.runs.get(one.rows[-1].run, {})
        limits = Limits.of({**run.get("suite", {}).get("constancy", {}), **(replaced or {})}, "limits")
        findings.append(judge(one, results.runs, limits))
    if not findings:
        notes.append("no backend was measured at two lengths, at constant tokens or at batch 1")
    return Report(gate="constancy", rule=RULE, findings=tuple(findings), notes=tuple(notes))


def judge(series: Series, runs: Mapping[str, dict[str, Any]], limits: Limits) -> Finding:
    """The verdict on one series, with all that speaks against it."""
    timed = [row for row in series.rows if row.times_ms]
    floors_ms = {row.case.key: METRICS["floor_ms"].value(row, runs.get(row.run, {})) for row in timed}
    full = [row for row in timed if floors_ms[row.case.key] >= limits.fills_ms]
    used = full if series.held == "batch 1" else timed
    too_few = _lengths(used, timed, floors_ms, limits)
    judged = [*_broken(series.rows), *too_few]
    time, memory = (fit(used) if len(used) > 1 else None for fit in (fit_times, fit_bytes))
    shares = {
        format_length(row.case.seq_len): METRICS["floor_share"].value(row, runs.get(row.run, {}))
        for row in used
    }
    # A model's weights, read or kept, weigh less on a token the more there are.
    shared = series.held == "batch 1" and bool(series.rows[0].case.model)
    if shared or len(used) < len(timed):
        judged += _growth(timed, limits, FILLING if len(used) < len(timed) else "")
    if time is not None:
        # Over a short span of lengths a token that grows cheaper is the card still filling up.
        falling = bool(too_few) and series.held == "batch 1" and time.alpha.high < 0
        judged += [] if falling else _fit("time", time, limits, shared)
    elif len(used) > 1:
        judged.append(("undecided", "a length has a single sample; measure it again"))
    judged += _floor(series, shares, len(full) == len(timed) or used is full, limits)
    if memory is not None:
        judged += _fit("memory", memory, limits, shared)
    said = {outcome for outcome, _ in judged}
    outcome: Outcome = "fail" if "fail" in said else "undecided" if "undecided" in said else "pass"
    reasons = [reason for said, reason in judged if said == outcome]
    return Finding(
        subject=series.title,
        state=outcome,
        outcome=outcome,
        reason="; ".join(reasons),
        figures=_figures(used, time, memory, shares, limits),
    )


def _broken(rows: Sequence[Row]) -> list[Judged]:
    return [
        ("fail", f"{format_length(row.case.seq_len)} is {row.verdict}")
        for row in rows
        if row.verdict in BROKEN
    ]


def _lengths(
    used: Sequence[Row], timed: Sequence[Row], floors_ms: Mapping[str, float], limits: Limits
) -> list[Judged]:
    """Whether there are lengths enough to pass."""
    lengths = [row.case.seq_len for row in used]
    if len(lengths) >= LEAST_LENGTHS and lengths[-1] >= LEAST_SPAN * lengths[0]:
        return []
    there = ", ".join(map(format_length, lengths)) or "none"
    said = (
        f"lengths that count: {there}; measure {LEAST_LENGTHS} or more, the longest {LEAST_SPAN} times "
        f"the shortest"
    )
    if len(used) < len(timed):
        floor_ms = floors_ms[timed[-1].case.key]
        if math.isnan(floor_ms):
            return [("undecided", "the run measured no copy bandwidth: what fills the device is not known")]
        first = timed[-1].case.seq_len * limits.fills_ms / floor_ms
        said += f", from {math.ceil(first / 1024)}k on, which fill the card (floor of {limits.fills_ms:g} ms)"
    return [("undecided", said)]


def _growth(timed: Sequence[Row], limits: Limits, when: str) -> list[Judged]:
    """What an empty card cannot excuse: filling it up makes a token cheaper, never dearer."""
    if len(timed) < 2:
        return []
    fits = {"time": fit_times(timed), "memory": fit_bytes(timed)}
    return [
        (
            "fail",
            f"{what} a token grows to {fit.growth} times that of a shorter length{when}",
        )
        for what, fit in fits.items()
        if fit is not None and fit.growth.low > limits.worst_over_best
    ]


def _fit(what: str, fit: Fit, limits: Limits, shared: bool) -> list[Judged]:
    """Whether a token costs the same at any length; less, where what it costs is `shared` by all."""
    if shared and fit.alpha.high < 0:
        return [("pass", f"{what}: alpha {fit.alpha}, falling as more tokens share the weights")]
    ratio = fit.worst_over_best
    alpha = fit.alpha
    return [
        _within(f"{what}: alpha", alpha, -limits.alpha, limits.alpha, fit.samples),
        _within(f"{what}: worst over best", ratio, 0.0, limits.worst_over_best, fit.samples),
    ]


def _within(what: str, value: Quantity, low: float, high: float, samples: int) -> Judged:
    """Where an interval lies between two limits."""
    allowed = f"at most {high:g}" if low == 0 else f"{low:g} to {high:g}"
    said = f"{what} {value}, allowed {allowed}"
    if low <= value.low and value.high <= high:
        return "pass", said
    if value.high < low or value.low > high:
        return "fail", said
    return "undecided", f"{said}: {_more(value, low, high, samples)}"


def _more(value: Quantity, low: float, high: float, samples: int) -> str:
    """How many more samples would bring the interval to one side; its width falls with their square root."""
    distance = min(abs(value.value - low), abs(value.value - high))
    half = max(value.high - value.value, value.value - value.low)
    factor = (half / distance) ** 2 if distance > 0 else math.inf
    if factor > HOPELESS:
        return "it sits on its limit, which no number of samples settles"
    return f"{max(math.ceil(samples * (factor - 1)), 1):,} more samples decide it"


def _floor(series: Series, shares: Mapping[str, float], full: bool, limits: Limits) -> list[Judged]:
    """Flat because slow is no pass. A call that leaves the card partly empty is not held to its bandwidth."""
    if not shares or limits.floor_share == 0:
        return []
    length, least = min(shares.items(), key=lambda item: item[1])
    if math.isnan(least):
        return [("undecided", "the run measured no copy bandwidth: the floor share is not known")]
    said = f"floor share {least:.2g} at {length}, asked for {limits.floor_share:g}"
    if least >= limits.floor_share:
        return [("pass", said)]
    if full:
        return [("fail", said)]
    if series.held == "context":
        return [("pass", f"{said} of calls that fill the card, which these do not")]
    return [("undecided", f"{said}; these calls do not fill the card: measure more tokens a call")]


def _figures(
    used: Sequence[Row], time: Fit | None, memory: Fit | None, shares: Mapping[str, float], limits: Limits
) -> dict[str, Any]:
    def quantity(value: Quantity) -> dict[str, float]:
        return {"value": value.value, "low": value.low, "high": value.high}

    fits = {
        name: {
            "alpha": quantity(fit.alpha),
            "worst_over_best": quantity(fit.worst_over_best),
            "samples": fit.samples,
        }
        for name, fit in (("time", time), ("memory", memory))
        if fit is not None
    }
    lengths = [row.case.seq_len for row in used]
    return {"lengths": lengths, **fits, "floor_share": dict(shares), "limits": dict(limits.__dict__)}
