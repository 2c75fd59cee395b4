"""Does what is said of a claim's shape hold here? From raw samples, with the uncertainty said."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbench import crossover
from lbench.claims.rows import Measured, answers, elsewhere, machines, ours
from lbench.claims.spec import Claim, Line, Shape
from lbench.crossover import Crossover, Point
from lbench.crossover.words import length_text, sentence
from lbench.gates.fit import fit_times
from lbench.lengths import format_length
from lbench.results import Row

By = Mapping[int, Measured]
Said = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One thing said, and what the rows say."""

    subject: str
    published: str
    outcome: str
    """holds | does not hold | undecided | measured (a number alone) | no rows."""
    reason: str = ""
    lengths: tuple[int, ...] = ()
    """Those that were judged."""
    setting: str = ""
    """Where it was judged, if not at the claim's own shapes."""
    machine: str = ""


def judge_all(claim: Claim, rows: Sequence[Measured]) -> Iterator[Judged]:
    """Everything said of its shape; of models by our kernel too, in place of the published one."""
    for shape in claim.shapes:
        yield judge(claim, shape, rows)
        line = claim.line(shape.line)
        if "model" in line.fields and (name := ours(line)):
            by_ours = judge(claim, shape, rows, name)
            if by_ours.outcome != "no rows":
                yield by_ours


def judge(claim: Claim, shape: Shape, rows: Sequence[Measured], by: str = "") -> Judged:
    """At the claim's shapes, or where these have no rows at another setting that is named.

    With `by` a backend takes the place of the line's own.
    """
    lines = [claim.line(line) for line in (shape.line, shape.other) if line]
    if by:
        own = lines[0]
        name = f"{own.name} by {by}"
        lines[0] = dataclasses.replace(own, name=name, fields={**own.fields, "backend": by})
    subject = _subject(shape, lines)
    published = _published(claim, shape, lines)
    sides, setting = _sides(claim, shape, lines, rows)
    least = 1 if shape.kind in ("ordering", "ratio") else 2
    used = [one for side in sides for one in side.values()]
    if len(sides[0]) < least:
        return Judged(subject=subject, published=published, outcome="no rows")
    timed = [{length: one.row for length, one in side.items()} for side in sides]
    judges = {"flat": _flat, "ordering": _ordering, "crossover": _crossover, "ratio": _ratio}
    outcome, reason = judges[shape.kind](claim, shape, lines, timed, rows)
    return Judged(
        subject=subject,
        published=published,
        outcome=outcome,
        reason=reason,
        lengths=tuple(sides[0]),
        setting=setting,
        machine=machines(used),
    )


def _subject(shape: Shape, lines: Sequence[Line]) -> str:
    first, other = lines[0].name, lines[-1].name
    said = {
        "flat": f"{first} is flat",
        "ordering": f"{first} is faster than {other}",
        "crossover": f"{first} becomes faster than {other}",
        "ratio": f"{first} over {other} at {format_length(shape.lengths[0])}",
    }
    return f"{shape.pass_name}: {said[shape.kind]}"


def _published(claim: Claim, shape: Shape, lines: Sequence[Line]) -> str:
    values = [claim.ns_per_token(line, shape.pass_name) for line in lines]
    lengths = [length for length in shape.lengths if all(length in value for value in values)]
    if shape.kind == "flat":
        costs = [values[0][length] for length in lengths]
        return f"slowest over fastest length {max(costs) / min(costs):.3g}"
    ratios = {length: values[1][length] / values[0][length] for length in lengths}
    if shape.kind == "crossover":
        behind, ahead = bracket(claim, shape, lines)
        return f"between {format_length(behind)} and {format_length(ahead)}"
    if shape.kind == "ratio":
        return f"{ratios[lengths[0]]:.3g} times as fast"
    return f"{min(ratios.values()):.3g} to {max(ratios.values()):.3g} times as fast"


def bracket(claim: Claim, shape: Shape, lines: Sequence[Line]) -> tuple[int, int]:
    """The published lengths that the crossover lies between."""
    one, other = (claim.ns_per_token(line, shape.pass_name) for line in lines)
    behind = max(length for length in shape.lengths if one[length] >= other[length])
    return behind, min(length for length in shape.lengths if length > behind)


def _sides(
    claim: Claim, shape: Shape, lines: Sequence[Line], rows: Sequence[Measured]
) -> tuple[list[dict[int, Measured]], str]:
    """The rows of each line by length, at lengths that all have; and their setting where it is another."""
    own = [
        answers(claim, line, shape.pass_name, rows).get(line.fields.get("backend", ""), {}) for line in lines
    ]
    timed = [_common([{n: one for n, one in by.items() if n in shape.lengths} for by in own])]
    if timed[0][0] or shape.kind == "ratio":
        return timed[0], ""
    others = [elsewhere(line, shape.pass_name, rows) for line in lines]
    shared = set.intersection(*(set(other) for other in others))
    found = {setting: _common([_within(other[setting], shape) for other in others]) for setting in shared}
    if not found:
        return timed[0], ""
    best = max(found, key=lambda setting: (len(found[setting][0]), setting))
    value, heads, dim, dim_v, dtype, device = best
    held = f"{value:,} tokens" if "tokens" in lines[0].fields else f"batch {value}"
    return found[best], f"{held}, h{heads} d{dim}{f' v{dim_v}' if dim_v != dim else ''} {dtype} {device}"


def _within(by: By, shape: Shape) -> dict[int, Measured]:
    return {length: one for length, one in by.items() if shape.lengths[0] <= length <= shape.lengths[-1]}


def _common(sides: Sequence[By]) -> list[dict[int, Measured]]:
    lengths = sorted(
        length
        for length in set.intersection(*(set(side) for side in sides))
        if all(len(side[length].row.times_ms) > 1 for side in sides)
    )
    return [{length: side[length] for length in lengths} for side in sides]


def _flat(_: Claim, shape: Shape, __: Sequence[Line], sides: list[dict[int, Row]], ___: Any) -> Said:
    fit = fit_times(list(sides[0].values()))
    if fit is None:
        return "undecided", "a length has a single sample"
    ratio = fit.worst_over_best
    said = f"slowest over fastest length {ratio}, allowed {shape.within:g}"
    if ratio.high <= shape.within:
        return "holds", said
    return ("does not hold" if ratio.low > shape.within else "undecided"), said


def _ordering(
    _: Claim, __: Shape, lines: Sequence[Line], sides: list[dict[int, Row]], rows: Sequence[Measured]
) -> Said:
    points = _compared(lines, sides, rows).points
    speeds = [1 / point.ratio.ratio for point in points]
    said = f"{min(speeds):.3g} to {max(speeds):.3g} times as fast"
    behind, untold = (_at(points, sign) for sign in (-1, 0))
    if behind:
        return "does not hold", f"{said}, slower at {behind}"
    return ("undecided", f"{said}, not to be told apart at {untold}") if untold else ("holds", said)


def _crossover(
    claim: Claim, shape: Shape, lines: Sequence[Line], sides: list[dict[int, Row]], rows: Sequence[Measured]
) -> Said:
    behind, ahead = bracket(claim, shape, lines)
    found = _compared(lines, sides, rows)
    shortest, longest = found.points[0].seq_len, found.points[-1].seq_len
    if found.state in ("ahead", "behind", "untold"):
        missed = (found.state == "ahead" and shortest <= behind) or (
            found.state == "behind" and longest >= ahead
        )
        return "does not hold" if missed else "undecided", sentence(found)
    low, high = found.low or 0.0, found.high or float("inf")
    at = "below " + format_length(shortest) if found.length is None else length_text(found.length)
    said = f"from {at} on (95 %: {length_text(low) if low else 'below ' + format_length(shortest)} to "
    said += f"{length_text(high)})" if found.high else f"beyond {format_length(longest)})"
    if behind <= low and high <= ahead:
        return "holds", said
    if high < behind or low > ahead:
        return "does not hold", f"{said}: {'earlier' if high < behind else 'later'}"
    return "undecided", said


def _ratio(
    _: Claim, __: Shape, lines: Sequence[Line], sides: list[dict[int, Row]], rows: Sequence[Measured]
) -> Said:
    (point,) = _compared(lines, sides, rows).points
    ratio = point.ratio
    interval = f"{1 / ratio.high:.3g} to {1 / ratio.low:.3g}" if ratio.is_known else "too few samples to tell"
    return "measured", f"{1 / ratio.ratio:.3g} times as fast ({interval})"


def _compared(lines: Sequence[Line], sides: list[dict[int, Row]], rows: Sequence[Measured]) -> Crossover:
    pairs = [_same_work(sides[0][length], sides[1][length]) for length in sides[0]]
    return crossover.judge(pairs, (lines[0].name, lines[1].name), [one.row for one in rows])


def _same_work(one: Row, other: Row) -> tuple[Row, Row]:
    """Models may have been given unlike batches: the other's times are those of as many tokens."""
    share = one.case.tokens / other.case.tokens
    if share == 1:
        return one, other
    return one, dataclasses.replace(other, times_ms=tuple(share * time_ms for time_ms in other.times_ms))


def _at(points: Sequence[Point], sign: int) -> str:
    return ", ".join(format_length(point.seq_len) for point in points if point.ahead == sign)
