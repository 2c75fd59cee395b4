"""A claim as text: published and measured values side by side, and what holds of its shape."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lbench.claims.rows import Measured, answers, in_one_setting, machines, on_one_machine
from lbench.claims.shapes import Judged, judge_all
from lbench.claims.spec import Claim, Line
from lbench.lengths import format_length
from lbench.report.wording import SHORT

UNITS = {"time_ms": "ms", "tokens_per_s": "tokens/s"}
LEGEND = "ratio: speed here over the published speed; =: the same kernel"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A measured value beside the published one."""

    backend: str
    same_kernel: bool
    seq_len: int
    verdict: str
    value: float
    low: float
    high: float
    ratio: float
    """Speed here over the published speed; NaN where either is missing."""
    machine: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Told:
    """What kept rows say of a claim."""

    claim: Claim
    measured: Mapping[tuple[str, str], tuple[Measurement, ...]]
    """(line's id, pass) -> its measurements."""
    shapes: tuple[Judged, ...]
    machines: str
    setting: str = ""
    """Of models: the one that their rows are taken from."""
    left_out: str = ""
    """Machines whose rows are of these kernels too."""


def tell(claim: Claim, rows: Sequence[Measured]) -> Told:
    """Looks up every line and judges every shape, on one machine."""
    rows, left_out = on_one_machine(claim, rows)
    rows = in_one_setting(claim, rows)
    measured, used = {}, []
    for line in claim.lines:
        for pass_name in line.values:
            found = answers(claim, line, pass_name, rows)
            used += [one for by_length in found.values() for one in by_length.values()]
            measured[line.id, pass_name] = tuple(
                _measurement(claim, line, pass_name, one)
                for by_length in found.values()
                for _, one in sorted(by_length.items())
            )
    return Told(
        claim=claim,
        measured=measured,
        shapes=tuple(judge_all(claim, rows)),
        machines=machines(used),
        setting=next((one.row.case.setting for one in used if one.row.case.model), ""),
        left_out=left_out,
    )


def _measurement(claim: Claim, line: Line, pass_name: str, one: Measured) -> Measurement:
    case = one.row.case
    value = one.value(claim.metric)
    low, high = one.value("time_ms_low"), one.value("time_ms_high")
    if claim.metric == "tokens_per_s":
        low, high = case.tokens * 1e3 / high, case.tokens * 1e3 / low
    published = claim.published(line, pass_name).get(case.seq_len, math.nan)
    return Measurement(
        backend=case.backend,
        same_kernel=case.backend == line.fields.get("backend"),
        seq_len=case.seq_len,
        verdict=one.row.verdict,
        value=value,
        low=low,
        high=high,
        ratio=value / published if claim.metric == "tokens_per_s" else published / value,
        machine=one.machine,
        key=case.key,
    )


def text(told: Told, width: int) -> Iterator[str]:
    """The lines of a terminal."""
    claim = told.claim
    yield from textwrap.wrap(f"{claim.name}: {claim.title}", width)
    here = ", ".join(filter(None, [told.machines or "no rows yet at these shapes", told.setting]))
    head = f"published: {claim.gpu}; here: {here}"
    other = f"left out, since machines differ: rows of {told.left_out}" if told.left_out else ""
    for paragraph in (claim.source, claim.note, head, other):
        yield from textwrap.wrap(paragraph, width, initial_indent="  ", subsequent_indent="  ")
    for pass_name in claim.passes:
        yield ""
        yield from _table(told, pass_name, width)
    yield ""
    yield from _shapes(told, width)


def _table(told: Told, pass_name: str, width: int) -> Iterator[str]:
    claim = told.claim
    lines = [line for line in claim.lines if pass_name in line.values]
    body: list[tuple[str, list[str]]] = []
    for line in lines:
        body.append((_name(line, told.measured[line.id, pass_name]), []))
        body += _cells(told, line, pass_name)
    label = max(len(name) for name, cells in body if cells)
    cell = max(len(text) for _, cells in body for text in cells) + 1
    fitting = max((width - label) // cell, 1)
    for first in range(0, len(claim.lengths), fitting):
        part = slice(first, first + fitting)
        if first:
            yield ""
        title = f"{pass_name}, {UNITS[claim.metric]}".ljust(label)
        yield title + "".join(format_length(length).rjust(cell) for length in claim.lengths[part])
        for name, cells in body:
            if cells and not any(cell.strip(".") for cell in cells[part]):
                continue
            if cells:
                yield (name.ljust(label) + "".join(text.rjust(cell) for text in cells[part])).rstrip()
            else:
                yield name
    if any(told.measured[line.id, pass_name] for line in lines):
        yield from textwrap.wrap(LEGEND + _uncertainty(told, pass_name), width)


def _name(line: Line, measured: Sequence[Measurement]) -> str:
    fields = line.fields
    dims = [str(fields[name]) for name in ("heads", "head_dim", "head_dim_v") if name in fields]
    missing = "" if measured else " - no rows yet" if "backend" in fields else " - nothing here computes it"
    return line.name + (f" ({' x '.join(dims)})" if dims else "") + missing


def _cells(told: Told, line: Line, pass_name: str) -> Iterator[tuple[str, list[str]]]:
    claim = told.claim
    yield (
        "  published",
        [value if isinstance(value, str) else _digits(value) for value in line.values[pass_name]],
    )
    measured = told.measured[line.id, pass_name]
    for backend in dict.fromkeys(one.backend for one in measured):
        by_length = {one.seq_len: one for one in measured if one.backend == backend}
        same = any(one.same_kernel for one in by_length.values())
        yield (
            f"  {'= ' if same else ''}{backend}",
            [_value(by_length.get(length)) for length in claim.lengths],
        )
        ratios = [by_length[length].ratio if length in by_length else math.nan for length in claim.lengths]
        yield "    ratio", ["" if math.isnan(ratio) else _digits(ratio) for ratio in ratios]


def _value(one: Measurement | None) -> str:
    if one is None:
        return "."
    return SHORT.get(one.verdict, one.verdict) if math.isnan(one.value) else _digits(one.value)


def _digits(value: float) -> str:
    """Three digits; a whole number from 100 on."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.{3 if value >= 0.01 else 2}g}".rstrip(".")


def _uncertainty(told: Told, pass_name: str) -> str:
    halves = [
        (one.high - one.low) / 2 / one.value
        for (_, name), measured in told.measured.items()
        for one in measured
        if name == pass_name and not math.isnan(one.high - one.low)
    ]
    return f"; 95 % intervals within {max(halves) * 100:.2g} %" if halves else ""


def _shapes(told: Told, width: int) -> Iterator[str]:
    yield "shape"
    for one in told.shapes:
        other = " at another setting" if one.setting else ""
        yield from textwrap.wrap(
            f"{one.outcome}{other}: {one.subject}", width, initial_indent="  ", subsequent_indent="    "
        )
        said = [("published", one.published)]
        if one.lengths:
            lengths = ", ".join(map(format_length, one.lengths))
            said += [("here", one.reason), ("lengths", lengths)]
            said.append(("on", f"{one.machine}; {one.setting}" if one.setting else one.machine))
        for label, text in said:
            yield from textwrap.wrap(
                text, width, initial_indent="    " + label.ljust(11), subsequent_indent=" " * 15
            )
