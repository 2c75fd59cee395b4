"""`lbench list models`: sizes, and the longest sequences expected to fit on this card. Needs no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from lbench.errors import UsageError

WITHOUT_A_CARD = 80 * 2**30
COLUMNS = ("model", "mixer", "layers", "width", "heads", "parameters", "weights", "train", "decode")


def parse_memory(text: str | None) -> tuple[int, str]:
    """Bytes and what they are, of `80g`; this card's where nothing is given, 80 GiB where there is none."""
    from lbench.machine import gpu_memory_bytes

    if text is None:
        found = gpu_memory_bytes()
        return (found, "this card") if found else (WITHOUT_A_CARD, "a card of 80 GiB; --memory says another")
    number, unit = text[:-1], text[-1:].lower()
    if unit not in ("g", "m") or not number.replace(".", "", 1).isdigit() or float(number) <= 0:
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


def lines(records: list[dict[str, Any]], memory: str | None) -> Iterator[str]:
    """The records as a table."""
    from lbench.models.costs import GIB

    table = [COLUMNS]
    for one in records:
        mixer = one["mechanism"] + (f", 1 in {one['attention_every']} softmax" * bool(one["attention_every"]))
        table.append(
            (
                one["name"],
                mixer,
                str(one["layers"]),
                str(one["width"]),
                f"{one['heads']} x {one['head_dim']}",
                f"{one['parameters']:,}",
                f"{one['weight_bytes'] / GIB:.2f} GiB",
                _length(one["longest_train"]),
                _length(one["longest_decode"]),
            )
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        words = [word.ljust(width) for word, width in zip(line[:2], widths, strict=False)]
        numbers = [word.rjust(width) for word, width in zip(line[2:], widths[2:], strict=True)]
        yield "  ".join([*words, *numbers])
    _, named = parse_memory(memory)
    yield f"\ntrain, decode: the longest sequence expected to fit into {named}"
    yield "(powers of two, batch 1, bf16), training with --checkpoint block; `lbench frontier` finds it"


def _length(length: int) -> str:
    from lbench.lengths import format_length

    if not length:
        return "-"
    return f"{format_length(length)}" if length < 1 << 25 else ">32m"
