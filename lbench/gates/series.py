"""Sweeps over lengths in a result folder: what was held constant while it grew."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lbench.lengths import format_length
from lbench.results import Row


@dataclass(frozen=True, kw_only=True)
class Series:
    """Rows of one backend, pass and setting that differ in length alone, ascending."""

    held: str
    """constant tokens | batch 1 | context (decoding)."""
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """Backend, pass, what was held constant, the setting where it is not the usual one."""
        case = self.rows[0].case
        what = {
            "constant tokens": f"{case.batch * case.seq_len:,} tokens",
            "batch 1": "batch 1",
            "context": f"batch {case.batch}",
        }[self.held]
        shape = f"{case.model_setting} " * bool(case.model) + f"h{case.heads} d{case.head_dim}"
        shape += f" v{case.head_dim_v}" if case.head_dim_v != case.head_dim else ""
        shape += f" kv{case.kv_heads}" if case.kv_heads != case.heads else ""
        other = [value for name in ("decay", "inputs") if (value := getattr(case, name)) not in _USUAL]
        other += [f"seed {case.seed}"] if case.seed else []
        return ", ".join([f"{case.backend} {case.pass_name}", what, f"{shape} {case.dtype}", *other])

    @property
    def lengths(self) -> str:
        """The lengths, as `1k, 4k, 16k`."""
        return ", ".join(format_length(row.case.seq_len) for row in self.rows)


_USUAL = ("alibi", "model")


def series_of(rows: Iterable[Row]) -> list[Series]:
    """Every sweep of at least two lengths: at constant tokens, at batch 1, and of contexts when decoding.

    Only cases that differ in batch and length alone are put together.
    """
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        for held, value in held_of(row):
            same = dataclasses.replace(row.case, batch=1, seq_len=1).key
            found.setdefault((same, held, value), []).append(row)
    made = [
        Series(held=held, rows=tuple(sorted(part, key=lambda row: row.case.seq_len)))
        for (_, held, _), part in found.items()
        if len({row.case.seq_len for row in part}) > 1
    ]
    return sorted(made, key=lambda one: one.title)


def held_of(row: Row) -> Iterator[tuple[str, int]]:
    """What may stay constant while the length of a row's case grows, and its value."""
    case = row.case
    if case.pass_name == "decode":
        yield "context", case.batch
        return
    yield "constant tokens", case.tokens
    if case.batch == 1:
        yield "batch 1", 1
