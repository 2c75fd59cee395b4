"""Ctrl-C at the right moment: while a case is waited for, never between its end and its row on the disk."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass
class _Control:
    held: bool = False
    pending: bool = False


_control = _Control()


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C within the block is kept for the next `check` or `allowed` in it, or else its end."""
    if _control.held or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, _on_interrupt)
    _control.held, _control.pending = True, False
    try:
        yield
    except BaseException:
        _control.pending = False
        raise
    finally:
        _control.held = False
        signal.signal(signal.SIGINT, before)
    check()


def check() -> None:
    """Raises the KeyboardInterrupt that was held back, if any."""
    if _control.pending:
        _control.pending = False
        raise KeyboardInterrupt


@contextlib.contextmanager
def allowed() -> Iterator[None]:
    """Within `held_back`, a stretch that Ctrl-C ends wherever it is."""
    if not _control.held or threading.current_thread() is not threading.main_thread():
        yield
        return
    check()
    _control.held = False
    try:
        yield
    finally:
        _control.held = True


def _on_interrupt(*_: Any) -> None:
    if not _control.held:
        raise KeyboardInterrupt
    _control.pending = True
