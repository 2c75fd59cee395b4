"""Whether a model's case fits into a memory at all, and what of it would; needs no torch."""

from __future__ import annotations

import dataclasses

from lbench import models
from lbench.case import Case
from lbench.lengths import format_length
from lbench.models.classes import family
from lbench.models.costs import GIB, memory_of

SHORTEST = 16
"""Tokens from which on a length that fits is sought."""
CERTAIN = {"cuda": 1.25, "cpu": 1.0}
"""Times the memory from which a prediction settles it. Running out of a GPU's is a clean error that shows
where the limit lies, so what may fit is tried there; running out of a CPU's is the machine's end."""


def reason_not_to_try(case: Case, memory_bytes: float | None, kind: str) -> str:
    """Why a case cannot fit: bytes by part, and what would fit in its place; empty where it may."""
    if memory_bytes is None:
        return ""
    parts = memory_of(case)
    if parts.total <= CERTAIN[kind] * memory_bytes:
        return ""
    said = f"predicted to need {parts.total / GIB:.1f} of {memory_bytes / GIB:.1f} GiB ({parts})"
    found = _instead(case, memory_bytes)
    return f"{said}; {found} would fit" if found else f"{said}; nothing smaller of its kind would fit"


def longest(case: Case, memory_bytes: float) -> int:
    """The longest length, a power of two from `SHORTEST` on, that is predicted to fit; 0 where none is."""
    fits, length = 0, SHORTEST
    most = models.of_case(case).max_length or 1 << 26
    while length <= most and memory_of(dataclasses.replace(case, seq_len=length)).total <= memory_bytes:
        fits, length = length, 2 * length
    return fits


def _instead(case: Case, memory_bytes: float) -> str:
    """The setting nearest to the case that fits, in words; empty where none does."""
    frugal = dataclasses.replace(case, checkpoint="block") if case.pass_name == "train" else case
    named = " --checkpoint block" if frugal != case else ""
    for other, words in (
        (frugal, named),
        (dataclasses.replace(frugal, batch=1), f" --batch 1{named}"),
    ):
        if other != case and memory_of(other).total <= memory_bytes:
            return words.strip()
    alone = dataclasses.replace(frugal, batch=1)
    if most := longest(alone, memory_bytes):
        return f"--seq {format_length(most)} --batch 1{named}"
    smaller = [name for name in models.names() if family(name) == family(case.model)]
    for name in reversed(smaller):
        other = dataclasses.replace(alone, model=name)
        less = models.load(name).parameters < models.of_case(case).parameters
        if less and (most := longest(other, memory_bytes)):
            return f"--model {name} --seq {format_length(most)} --batch 1{named}"
    return ""
