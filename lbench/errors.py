"""Errors that are meant for a person: one line saying what was given, what is allowed and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(Exception):
    """Input that cannot be used. The command line prints it, as wide as the terminal, and exits with 2."""


def unknown(kind: str, given: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not in `known`, with the nearest ones suggested."""
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    near = near or [name for name in names if given.lower() in name.lower()]
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
    return UsageError(f"unknown {kind} {given!r}; {hint}")


class WriteFailed(Exception):
    """The disk did not take what was to be kept; the run ends. The command line exits with 1."""

    def __init__(self, message: str, line: str = "") -> None:
        super().__init__(message)
        self.line = line
        """The row as `rows.jsonl` would hold it; empty where it was another file."""
