"""Standard error that may lose its reader: a terminal that closes, a pipe whose other end is gone."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class _Patient:
    """A text stream that goes on where nobody listens any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def not_needed() -> Iterator[None]:
    """Within the block what is said on standard error is lost, rather than fatal, where nobody reads it."""
    before = sys.stderr
    sys.stderr = _Patient(before)
    try:
        yield
    finally:
        sys.stderr = before
