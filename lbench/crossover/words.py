"""A crossover in words: the answer in a sentence, what was measured below it."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lbench.case import MODEL_SETTINGS
from lbench.crossover import Crossover, Point
from lbench.lengths import format_length
from lbench.ratios import percent

USUAL = {"kv_heads": None, "decay": "alibi", "inputs": "model", "seed": 0}
"""Fields that are told only where they differ from this (kv_heads: from heads)."""


def told(answer: Crossover, machine: str, width: int) -> list[str]:
    """The setting, the answer, and a line for each length, no wider than `width` if words allow."""
    lines = textwrap.wrap(f"{setting(answer.setting)}, {machine}", width)
    for text in (sentence(answer), *notes(answer)):
        lines += textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ")
    return [*lines, *_table(answer, width)]


def setting(fields: Mapping[str, Any]) -> str:
    """`fwd, 262,144 tokens, h16 d128 bf16 cuda`."""
    held = {"constant tokens": f"{fields['value']:,} tokens", "batch 1": "batch 1"}
    shape = _shape(fields)
    other = [
        f"{name.replace('_', ' ')} {fields[name]}"
        for name in MODEL_SETTINGS
        if "heads" not in fields and fields.get(name) not in (None, "native", "none", "off", 0)
    ]
    other += [
        f"{name} {fields[name]}" for name, usual in USUAL.items() if usual not in (None, fields.get(name))
    ]
    what = held.get(fields["held"], f"batch {fields['value']}")
    return ", ".join([fields["pass"], what, f"{shape}{fields['dtype']} {fields['device']}", *other])


def _shape(fields: Mapping[str, Any]) -> str:
    """Of mixers; models have their own."""
    if "heads" not in fields:
        return ""
    shape = f"h{fields['heads']} d{fields['head_dim']} "
    shape += f"v{fields['head_dim_v']} " if fields["head_dim_v"] != fields["head_dim"] else ""
    return shape + (f"kv{fields['kv_heads']} " if fields["kv_heads"] != fields["heads"] else "")


def sentence(answer: Crossover) -> str:
    """The answer."""
    one, other = answer.one, answer.other
    first, last = (format_length(answer.points[index].seq_len) for index in (0, -1))
    measured = first if first == last else f"{first} to {last}"
    if answer.state == "ahead":
        return f"{one} is ahead of {other} at every measured length ({measured}): no crossover among them"
    if answer.state == "behind":
        early = [format_length(point.seq_len) for point in answer.points if point.ahead == 1]
        at_some = f"; {one} is ahead at {', '.join(early)} alone" if early else ""
        return f"{one} does not beat {other} up to {last}: {other} is ahead there{at_some}"
    if answer.state == "untold":
        see = max(point.ratio.could_see for point in answer.points if point.ahead == 0)
        where = "" if answer.behind is None else f"; {other} is ahead at {format_length(answer.behind)}"
        return (
            f"it cannot be told whether {one} beats {other}: no difference is seen at {last} (could see "
            f"{percent(see)}){where}"
        )
    low = f"below {first}" if answer.low is None else length_text(answer.low)
    high = f"beyond {last}" if answer.high is None else length_text(answer.high)
    at = f"below {first}" if answer.length is None else length_text(answer.length)
    return f"{one} beats {other} from {at} on (95 %: {low} to {high})"


def notes(answer: Crossover) -> list[str]:
    """What was measured, and what weakens the answer."""
    made = []
    names = {1: answer.one, -1: answer.other}
    if len(set(answer.mechanisms)) > 1:
        sides = zip(names.values(), answer.mechanisms, strict=True)
        made.append("two mechanisms: " + ", ".join(f"{name} computes {what}" for name, what in sides))
    if answer.state in ("crossover", "at most"):
        seen = [] if answer.behind is None else [f"{answer.other} ahead at {format_length(answer.behind)}"]
        seen.append(f"{answer.one} ahead from {format_length(answer.ahead or 0)} on")
        between = [length for length in answer.untold if length < (answer.ahead or 0)]
        if between:
            seen.append(f"not to be told apart at {', '.join(map(format_length, between))}")
        made.append("measured: " + ", ".join(seen))
    changes = [point.ahead for point in answer.points if point.ahead]
    turns = sum(before != after for before, after in itertools.pairwise(changes))
    if turns > 1:
        made.append("the lead changes " + f"{turns} times: " + ", ".join(names[sign] for sign in changes))
    if answer.apart:
        some = len(answer.apart) < len(answer.points)
        where = f" at {', '.join(map(format_length, answer.apart))}" if some else ""
        made.append(f"not measured in turns{where}: drift between their runs is in no interval")
    if answer.missing:
        made.append("no time: " + "; ".join(_grouped(answer.missing)))
    if answer.untold and answer.state not in ("crossover", "at most"):
        made.append("~: not to be told apart")
    return made


def _grouped(missing: Mapping[int, str]) -> Iterator[str]:
    """`flash_attn2 out_of_memory at 64k, 128k`, once for each of what happened."""
    for what in dict.fromkeys(missing.values()):
        lengths = [format_length(length) for length, said in missing.items() if said == what]
        yield f"{what} at {', '.join(lengths)}"


def length_text(length: float) -> str:
    """Three digits, in k from 1,024 on."""
    for unit, size in (("m", 2**20), ("k", 2**10)):
        if length >= size:
            return f"{_digits(length / size)}{unit}"
    return _digits(length)


def _table(answer: Crossover, width: int) -> list[str]:
    """A line a length; of names of mixers in models only what tells them apart, where all has no room."""
    body = [_line(point, (answer.one, answer.other)) for point in answer.points]
    tables = [
        _aligned([("length", *names, "ratio (95 %)", ""), *body])
        for names in _shorter(answer.one, answer.other)
    ]
    return next((table for table in tables if max(map(len, table)) <= width), tables[-1])


def _shorter(one: str, other: str) -> Iterator[tuple[str, str]]:
    """Both names, then without their backends, or the part that they share, as long as they differ."""
    yield one, other
    for mark in (" in ", " with "):
        for end in (2, 0):
            names = one.rpartition(mark)[end], other.rpartition(mark)[end]
            if mark in one and mark in other and names[0] != names[1]:
                yield names


def _aligned(lines: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return [
        "  "
        + "  ".join(cell.rjust(size) for cell, size in zip(line[:4], widths, strict=True))
        + f"  {line[4]}".rstrip()
        for line in lines
    ]


def _line(point: Point, names: tuple[str, str]) -> tuple[str, ...]:
    ratio = point.ratio
    interval = f"{_digits(ratio.low)} to {_digits(ratio.high)}" if ratio.is_known else "?"
    return (
        format_length(point.seq_len),
        *(f"{_digits(time_ms, 4)} ms" for time_ms in point.times_ms),
        f"{_digits(ratio.ratio)} ({interval})",
        {1: "", -1: "", 0: "~"}[point.ahead],
    )


def _digits(value: float, count: int = 3) -> str:
    """That many digits, zeros at the end among them."""
    return f"{value:#.{count}g}".rstrip(".")
