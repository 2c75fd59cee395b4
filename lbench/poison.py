"""Poison: fresh memory that holds no number, so that what nobody wrote cannot pass for a result."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SMALL_BYTES = 2**20
"""torch's CUDA allocator serves requests up to this size from a pool of their own."""
M_PERTURB = -6
"""glibc's mallopt option: fresh memory is filled with the complement of a number's lowest byte; 0 is off."""
ALL_ONES = 0x100
"""Not 0, and the complement of its lowest byte is 0xff: NaN in every type."""


@contextmanager
def poisoned(device: str) -> Iterator[None]:
    """Within it fresh memory holds no number: what a kernel leaves unwritten, or reads unwritten, shows.

    On a GPU every free block of torch's allocator is filled with NaN (0xff bytes) at the start: the call
    before has left the very blocks that the next one takes. On a CPU glibc fills what it hands out with the
    same bytes; with another C library nothing happens.
    """
    if device.startswith("cuda"):
        _fill_free_blocks(device)
        yield
        return
    perturb = _mallopt()
    perturb(M_PERTURB, ALL_ONES)
    try:
        yield
    finally:
        perturb(M_PERTURB, 0)


def _fill_free_blocks(device: str) -> None:
    import torch

    torch.cuda.synchronize()
    index = torch.device(device).index or 0
    sizes = [
        piece
        for segment in torch.cuda.memory_snapshot()
        if segment["device"] == index
        for block in segment["blocks"]
        if block["state"] == "inactive"
        for piece in _pieces(block["size"], small=segment["segment_type"] == "small")
    ]
    held = []
    # The largest first, each of which the allocator then serves from the block of its size.
    with suppress(torch.cuda.OutOfMemoryError):
        for size in sorted(sizes, reverse=True):
            held.append(torch.empty(size, dtype=torch.uint8, device=device).fill_(0xFF))
    torch.cuda.synchronize()


def _pieces(size: int, *, small: bool) -> list[int]:
    if not small or size <= SMALL_BYTES:
        return [size]
    return [SMALL_BYTES] * (size // SMALL_BYTES) + ([size % SMALL_BYTES] if size % SMALL_BYTES else [])


def _mallopt() -> Callable[[int, int], int]:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            function: Callable[[int, int], int] = ctypes.CDLL(None).mallopt
            return function
    return lambda option, value: 0
