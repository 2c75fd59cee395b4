"""A user's function in a file that runs out of memory as it is read, until `LBENCH_HEALED` is set."""

from __future__ import annotations

from misbehaving import allocate, healed, right

__all__ = ["right"]

if not healed():
    allocate()
