"""The cases of a claim, as a suite that `lbench run`'s sweep measures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lbench import backends as registry
from lbench import suite as suites
from lbench.case import PASSES
from lbench.claims.rows import ours
from lbench.claims.spec import Claim, Line
from lbench.errors import UsageError, unknown
from lbench.lengths import format_length, parse_lengths
from lbench.suite import Suite


def suite_of(
    claim: Claim, *, backends: Sequence[str] = (), passes: Sequence[str] = (), seq: str | None = None
) -> Suite:
    """Lines that something here computes, by the same kernel and ours, or by `backends`, each where it fits.

    UsageError where nothing is left, or the claim is of models and there are none.
    """
    for name in passes:
        if name not in PASSES:
            raise unknown("pass", name, PASSES)
    for name in backends:
        registry.load(name)
    lengths = _lengths(claim, seq)
    sweeps = [
        {**axes, "backend": names, "pass": pass_name}
        for line in claim.lines
        for pass_name in line.values
        if (not passes or pass_name in passes) and (names := _names(line, backends))
        for axes in _axes(line, lengths)
    ]
    if not sweeps:
        raise UsageError(
            f"claim {claim.name} has no line of that --backend and --pass; `lbench claims show` has its lines"
        )
    for axis in sorted({axis for sweep in sweeps for axis in sweep}):
        if axis not in suites.AXES:
            raise UsageError(
                f"claim {claim.name} is of cases with a {axis}, which this lbench does not measure; "
                f"`lbench claims show --claim {claim.name}` prints it"
            )
    return Suite(name=f"claim-{claim.name}", title=claim.title, sweeps=tuple(sweeps))


def _lengths(claim: Claim, seq: str | None) -> tuple[int, ...]:
    if seq is None:
        return claim.lengths
    wanted = parse_lengths(seq)
    for length in wanted:
        if length not in claim.lengths:
            there = ", ".join(map(format_length, claim.lengths))
            raise UsageError(f"claim {claim.name} has no length {format_length(length)}; it has {there}")
    return wanted


def _names(line: Line, backends: Sequence[str]) -> list[str]:
    """Who is to measure a line."""
    mechanism = line.fields.get("mechanism")
    if backends:
        return [name for name in backends if registry.load(name).mechanism == mechanism]
    own = [line.fields["backend"]] if "backend" in line.fields else []
    return list(dict.fromkeys([*own, *([ours(line)] if own and ours(line) else [])]))


def _axes(line: Line, lengths: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Of lengths that do not divide the tokens of a rerun, one sequence is a call."""
    axes = {name: value for name, value in line.shape.items() if name != "mechanism"}
    again = dict(line.rerun)
    tokens = again.pop("tokens", 0)
    whole = [length for length in lengths if not tokens or tokens % length == 0]
    held = {"tokens": tokens} if tokens else {}
    for part, fields in ((whole, held), ([n for n in lengths if n not in whole], {"batch": 1})):
        if part:
            yield {**axes, **again, **fields, "seq": ",".join(map(str, part))}
