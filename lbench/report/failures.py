"""What went wrong, as lists show it: the case, its verdict and reason, and the command that runs it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lbench.lengths import format_length
from lbench.report.wording import title

TOLD = frozenset({"wrong", "failed", "crashed", "timeout", "out_of_memory"})
"""Verdicts of cases that ran and did not end well."""


def failures(rows: Sequence[Mapping[Any, Any]], every: bool = False) -> list[tuple[str, str]]:
    """(what happened, the command that runs that case) of failures; `rows` have the columns of a frame.

    Of those of a backend, pass and verdict only the first one, and how many there are more; or `every` one.
    """
    found: dict[tuple[Any, ...], tuple[Mapping[Any, Any], int]] = {}
    for row in rows:
        if row["verdict"] in TOLD:
            alike = [row["backend"], row.get("model"), row["pass"], row["verdict"]]
            kind = (*alike, row["reproduce"] if every else "")
            first, count = found.get(kind, (row, 0))
            found[kind] = (first, count + 1)
    return [(_told(row, count - 1), str(row["reproduce"])) for row, count in found.values()]


def _told(row: Mapping[Any, Any], more: int) -> str:
    shape = f"{format_length(int(row['batch']))} x {format_length(int(row['seq_len']))}"
    others = f" (and {more} more)" if more else ""
    # Frames of an export that was made before there were models have no such column.
    who = title(row["backend"]) + (f" in {row['model']}" if row.get("model") else "")
    return f"{who}, {row['pass']}, {shape}{others}: {row['verdict']}: {row['reason']}"
