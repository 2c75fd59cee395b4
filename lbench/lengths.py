"""The grammar of lengths: `1k..256k`, `1k..256k:x4`, `4k..64k:+4k`, `1k,3k,10k`; k = 1024, m = 1024 k."""

from __future__ import annotations

import re

from lbench.errors import UsageError

UNITS = {"": 1, "k": 1024, "m": 1024 * 1024}
LARGEST = 2**40
LONGER = "256k"
"""The end that a range without one is told to have."""


def parse_length(text: str, what: str = "length") -> int:
    """One length: a whole number, with `k` for 1,024 or `m` for 1,048,576 behind it; `what` names it."""
    match = re.fullmatch(r"(\d+)([km]?)", text.strip().lower())
    if not match:
        raise UsageError(f"{what} {text!r} is no whole number with an optional k or m (4096, 4k, 1m)")
    length = int(match[1]) * UNITS[match[2]]
    if not 1 <= length <= LARGEST:
        raise UsageError(f"{what} {text!r}: allowed are 1 to {LARGEST}")
    return length


def parse_ends(text: str) -> tuple[int, int]:
    """Both ends of a range `1k..64k`; of one length, that length twice."""
    first, dots, last = (part.strip() for part in text.partition(".."))
    if dots and not (first and last):
        told = f"{first}..{LONGER}" if first else f"1..{last}" if last else "1k..64k"
        raise UsageError(f"range {text!r} has no {'end' if first else 'start'}; write {told}")
    return parse_length(first), parse_length(last if dots else first)


def format_length(length: int) -> str:
    """The shortest exact writing of a length: 4096 -> `4k`, 1048576 -> `1m`, 1000 -> `1000`."""
    for unit in ("m", "k"):
        if length >= UNITS[unit] and length % UNITS[unit] == 0:
            return f"{length // UNITS[unit]}{unit}"
    return str(length)


def parse_lengths(text: str) -> tuple[int, ...]:
    """All lengths of a comma-separated list of lengths and ranges, ascending, each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UsageError(f"lengths {text!r} have an empty part; write 1k,4k or 1k..64k")
    return tuple(sorted({length for part in parts for length in _parse_part(part)}))


def _parse_part(part: str) -> list[int]:
    if ".." not in part:
        if ":" in part:
            raise UsageError(f"a step belongs to a range: write 1k..64k:x4, not {part!r}")
        return [parse_length(part)]
    ends, _, step = part.partition(":")
    first, last = parse_ends(ends)
    if first > last:
        first_text, _, last_text = ends.partition("..")
        raise UsageError(f"range {part!r} runs backwards; write {last_text}..{first_text}")
    lengths = _walk(first, last, step or "x2", part)
    if lengths[-1] != last:
        below, above = lengths[-1], _advance(lengths[-1], step or "x2", part)
        raise UsageError(
            f"range {part!r} does not hit its end {format_length(last)}; "
            f"the nearest ends are {format_length(below)} and {format_length(above)}"
        )
    return lengths


def _walk(first: int, last: int, step: str, part: str) -> list[int]:
    lengths = [first]
    while (following := _advance(lengths[-1], step, part)) <= last:
        lengths.append(following)
        if len(lengths) > 10_000:
            raise UsageError(f"range {part!r} has more than 10,000 lengths; take a larger step")
    return lengths


def _advance(length: int, step: str, part: str) -> int:
    if step.startswith("+"):
        return length + parse_length(step[1:])
    if step.startswith("x") and step[1:].isdigit() and int(step[1:]) >= 2:
        return length * int(step[1:])
    raise UsageError(f"step {step!r} in {part!r}; allowed are :x2 (times, 2 or more) and :+4k (plus)")


def batch_of(tokens: int, seq_len: int) -> int:
    """Sequences of a length that make up so many tokens."""
    if tokens % seq_len:
        raise UsageError(
            f"{tokens} tokens cannot be split into sequences of {format_length(seq_len)} ({seq_len}); "
            f"choose --tokens as a multiple of every length"
        )
    return tokens // seq_len
