"""Which rows a report is about: the choices that all of them take."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from lbench.errors import UsageError, unknown
from lbench.lengths import format_length, parse_ends


def load(folders: Sequence[Path]) -> pd.DataFrame:
    """The rows of result folders; problems of the files go to standard error, one line each."""
    import lbench

    frame = lbench.load(*folders)
    for problem in frame.attrs.get("problems", ()):
        print(f"lbench: {problem}", file=sys.stderr)
    if frame.empty:
        raise UsageError("the results hold no rows yet; let `lbench run` finish a case first")
    return frame


def select(
    frame: pd.DataFrame,
    backends: Sequence[str] = (),
    passes: Sequence[str] = (),
    seq: str | None = None,
    models: Sequence[str] = (),
) -> pd.DataFrame:
    """The rows of the named backends, passes, models and lengths, all where none is named.

    UsageError for an unknown name, and where no row is left.
    """
    named = {
        column: wanted
        for column, wanted in (("backend", backends), ("pass", passes), ("model", models))
        if wanted
    }
    chosen = frame
    for column, wanted in named.items():
        known = set(frame[column]) - {""}
        if not known:
            raise UsageError(f"these results hold no row of a {column}")
        for name in wanted:
            if name not in known:
                raise unknown(f"{column} in these results", name, known)
        chosen = chosen[chosen[column].isin(list(wanted))]
    if chosen.empty:
        sought = " and ".join(f"{column} {', '.join(wanted)}" for column, wanted in named.items())
        raise UsageError(f"no row has {sought}")
    if seq is not None:
        lengths = sorted(set(chosen["seq_len"]))
        chosen = chosen[chosen["seq_len"].map(lengths_within(seq))]
        if chosen.empty:
            there = ", ".join(format_length(length) for length in lengths)
            raise UsageError(f"no row has a length of --seq {seq}; there are {there}")
    return chosen


def lengths_within(text: str) -> Callable[[int], bool]:
    """Whether a length is one of a list, or within one of its ranges: `1k..64k` (all between), `3k,10k`."""
    ranges = [parse_ends(part) for part in text.split(",")]
    return lambda length: any(first <= length <= last for first, last in ranges)
