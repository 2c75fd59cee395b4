"""`lbench list models`: sizes, GiB of weights, the longest sequences expected to fit. Needs no torch."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Iterator
from typing import Any

from lbench.errors import UsageError

WITHOUT_A_CARD = 80 * 2**30
COLUMNS = ("model", "mixer", "layers", "width", "heads", "params", "GiB", "train", "decode")


def parse_memory(text: str | None) -> tuple[int, str]:
    """Bytes and what they are, of `80g`; this card's where nothing is given, 80 GiB where there is none."""
    from lbench.machine import gpu_memory_bytes

    if text is None:
        found = gpu_memory_bytes()
        return (found, "this card") if found else (WITHOUT_A_CARD, "a card of 80 GiB; --memory says another")
    number, unit = text[:-1], text[-1:].lower()
    decimal = number.replace(".", "", 1).isdecimal()
    if unit not in ("g", "m") or not decimal or not 0 < float(number) < math.inf:
        raise UsageError(f"--memory {text!r} is no size; write 80g or 40960m")
    return int(float(number) * 2 ** {"g": 30, "m": 20}[unit]), f"a memory of {text}"


def records(memory: str | None) -> list[dict[str, Any]]:
    """Every model as a record."""
    from lbench import models
    from lbench.models.room import longest

    memory_bytes, _ = parse_memory(memory)
    made = []
    for name in models.names():
        model = models.load(name)
        backend = models.DEFAULT_MIXERS.get(model.mechanism, f"{model.mechanism}_eager")
        case = models.fields_of(name, backend, model.mechanism, "native", "", "cuda")
        made.append(
            {
                "name": name,
                "mechanism": model.mechanism,
                "layers": model.layers,
                "width": model.width,
                "heads": model.heads,
                "head_dim": model.head_dim,
                "parameters": model.parameters,
                "published_parameters": model.published or None,
                "weight_bytes": 2 * model.parameters,
                "longest_train": longest(dataclasses.replace(case, checkpoint="block"), memory_bytes),
                "longest_decode": longest(dataclasses.replace(case, pass_name="decode"), memory_bytes),
                "attention_every": model.attention_every or None,
                "source": model.source,
            }
        )
    return made


def lines(records: list[dict[str, Any]], memory: str | None, room: int) -> Iterator[str]:
    """The records as a table, its counts rounded where it would be wider than `room` columns."""
    made = [
        _align([COLUMNS, *(_cells(one, rounded=rounded) for one in records)]) for rounded in (False, True)
    ]
    exact, rounded = made
    fits = max(map(len, exact)) <= room
    yield from exact if fits else rounded
    _, named = parse_memory(memory)
    notes = (
        f"train, decode: the longest sequence expected to fit into {named} (powers of two, batch 1, bf16), "
        "training with --checkpoint block; `lbench frontier` finds it"
    )
    if not fits:
        notes += "; +1/8: one layer in 8 is softmax; exact counts in a wider terminal or with --json"
    yield from ("", *textwrap.wrap(notes, room, break_on_hyphens=False))


def _cells(one: dict[str, Any], *, rounded: bool) -> tuple[str, ...]:
    from lbench.models.costs import GIB

    every, gib = one["attention_every"], one["weight_bytes"] / GIB
    hybrid = f"+1/{every}" if rounded else f", 1 in {every} softmax"
    return (
        one["name"],
        one["mechanism"] + hybrid * bool(every),
        str(one["layers"]),
        str(one["width"]),
        f"{one['heads']}x{one['head_dim']}" if rounded else f"{one['heads']} x {one['head_dim']}",
        _rounded(one["parameters"]) if rounded else f"{one['parameters']:,}",
        f"{gib:.1f}" if rounded else f"{gib:.2f}",
        _length(one["longest_train"]),
        _length(one["longest_decode"]),
    )


def _align(table: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    made = []
    for line in table:
        name, mixer, *numbers = zip(line, widths, strict=True)
        counts = [word.rjust(width) for word, width in numbers]
        made.append(f"{name[0]:<{name[1]}} {'  '.join([mixer[0].ljust(mixer[1]), *counts])}")
    return made


def _rounded(count: int) -> str:
    """`1.02B`, `385M`."""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return str(count)


def _length(length: int) -> str:
    from lbench.lengths import format_length

    if not length:
        return "-"
    return f"{format_length(length)}" if length <= 1 << 25 else ">32m"
