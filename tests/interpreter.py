"""What the interpreter itself says of the calls that are made: nothing is patched for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def told_of_calls(tell: Callable[[FrameType], None]) -> Iterator[None]:
    """Within it `tell` is given the frame of every Python function that is called."""

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            tell(frame)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(before)
