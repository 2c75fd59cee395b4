"""What a claim is: lines of published values over length, and what is said about their shape.

title, source, gpu, note
metric = "time_ms"            # or "tokens_per_s"
lengths = [512, 1024]
[setting]                     # fields of all cases: dtype, heads, batch or tokens ...
[rerun]                       # what `claims run` sets where the paper is silent: tokens, checkpoint ...
[[line]]                      # one row of the table
id, name
mechanism, backend, model     # what computes it here; absent where nothing does
heads, head_dim ...           # fields of its own
rerun.tokens                  # its own settings of a rerun
values.fwd = [8.8, "OOM"]     # by pass, one for each length; a word where there is no number
[[shape]]
kind = "flat"                 # a token costs the same at all lengths, within `within` (1.10)
kind = "ordering"             # `line` is faster than `other` at all lengths
kind = "crossover"            # `line` becomes faster than `other` where it does in the published values
kind = "ratio"                # how many times as fast as `other` at length `at`
line, other, pass, lengths    # lengths: those that it is said of, by default all
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

KINDS = ("flat", "ordering", "crossover", "ratio")
METRICS = ("time_ms", "tokens_per_s")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One kernel or model of a table."""

    id: str
    name: str
    fields: Mapping[str, Any]
    """Fields of its cases, `tokens` among them; `mechanism`, and the `backend` that is the same kernel."""
    values: Mapping[str, tuple[float | str, ...]]
    """By pass, a value for each of the claim's lengths; a word where there is no number."""
    rerun: Mapping[str, Any] = field(default_factory=dict)
    """Settings to measure it again with, where the paper is silent; `tokens` at lengths that divide them."""

    @property
    def shape(self) -> dict[str, Any]:
        """The fields without who computes it."""
        return {name: value for name, value in self.fields.items() if name != "backend"}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What is said of the shape of one line, or of two."""

    kind: str
    line: str
    pass_name: str
    lengths: tuple[int, ...]
    other: str = ""
    within: float = 1.10
    """flat: the slowest length over the fastest, a token."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One published table."""

    name: str
    title: str
    source: str
    gpu: str
    metric: str
    note: str
    lengths: tuple[int, ...]
    lines: tuple[Line, ...]
    shapes: tuple[Shape, ...]

    def line(self, line_id: str) -> Line:
        """The line of that id."""
        return next(line for line in self.lines if line.id == line_id)

    @property
    def passes(self) -> tuple[str, ...]:
        """Passes in the order of the table."""
        return tuple(dict.fromkeys(name for line in self.lines for name in line.values))

    def published(self, line: Line, pass_name: str) -> dict[int, float]:
        """Length -> published value, where it is a number."""
        values = line.values.get(pass_name, ())
        return {
            length: float(value)
            for length, value in zip(self.lengths, values, strict=True)
            if not isinstance(value, str)
        }

    def ns_per_token(self, line: Line, pass_name: str) -> dict[int, float]:
        """Length -> published time a token."""
        tokens = {
            length: line.fields.get("tokens", line.fields.get("batch", 1) * length) for length in self.lengths
        }
        return {
            length: 1e9 / value if self.metric == "tokens_per_s" else value * 1e6 / tokens[length]
            for length, value in self.published(line, pass_name).items()
        }


def parse(name: str, content: Mapping[str, Any]) -> Claim:
    """A claim from its file; ValueError where the file contradicts itself."""
    lengths = tuple(content["lengths"])
    rerun = content.get("rerun", {})
    lines = tuple(_line(entry, content["setting"], rerun, lengths) for entry in content["line"])
    shapes = tuple(_shape(entry, lengths, {line.id: line for line in lines}) for entry in content["shape"])
    if content["metric"] not in METRICS or len({line.id for line in lines}) != len(lines):
        raise ValueError(f"claim {name}: metric {content['metric']}, or one id twice")
    texts = {field: content[field] for field in ("title", "source", "gpu", "metric", "note")}
    return Claim(name=name, lengths=lengths, lines=lines, shapes=shapes, **texts)


def _line(
    entry: Mapping[str, Any], setting: Mapping[str, Any], rerun: Mapping[str, Any], lengths: Sequence[int]
) -> Line:
    others = ("id", "name", "values", "rerun")
    fields = {**setting, **{name: value for name, value in entry.items() if name not in others}}
    values = {pass_name: tuple(given) for pass_name, given in entry["values"].items()}
    if any(len(given) != len(lengths) for given in values.values()):
        raise ValueError(f"line {entry['id']}: not one value a length")
    again = {**rerun, **entry.get("rerun", {})}
    return Line(id=entry["id"], name=entry["name"], fields=fields, values=values, rerun=again)


def _shape(entry: Mapping[str, Any], lengths: tuple[int, ...], lines: Mapping[str, Line]) -> Shape:
    fields = {("pass_name" if name == "pass" else name): value for name, value in entry.items()}
    said_of = (fields.pop("at"),) if "at" in fields else tuple(fields.pop("lengths", lengths))
    shape = Shape(lengths=said_of, **fields)
    known = [line for line in (shape.line, shape.other) if line]
    if shape.kind not in KINDS or not {*known} <= {*lines} or not {*said_of} <= {*lengths}:
        raise ValueError(f"shape {dataclasses.asdict(shape)} names what is not there")
    return shape
