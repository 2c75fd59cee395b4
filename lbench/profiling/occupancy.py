"""How many warps of a kernel fit on a multiprocessor at once, by the card's limits and what a block takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

WARP = 32
REGISTERS_AT_ONCE = 256
"""Registers are given to a warp in pieces of so many (compute capability 3 and later)."""
SHARED_AT_ONCE = 128
"""Shared memory is given to a block in pieces of so many bytes (8.0 and later)."""
SHARED_OF_SYSTEM = 1024
"""Shared memory that the driver keeps of each block (8.0 and later)."""
BLOCKS = 32
"""Most blocks on a multiprocessor, as on data-centre cards since Volta."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What one multiprocessor of a GPU holds."""

    multiprocessors: int
    warps: int
    registers: int
    shared_bytes: int

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Card | None:
        """The card of a record as `card_of` makes it; None where a part is missing."""
        try:
            return cls(**{name: int(record[name]) for name in cls.__dataclass_fields__})
        except (KeyError, TypeError, ValueError):
            return None


def card_of(device: str) -> dict[str, int]:
    """The limits of a torch device by the names of `Card`, as far as this torch tells them."""
    if not device.startswith("cuda"):
        return {}
    import torch

    properties = torch.cuda.get_device_properties(device)
    threads = getattr(properties, "max_threads_per_multi_processor", None)
    told = {
        "multiprocessors": properties.multi_processor_count,
        "warps": None if threads is None else threads // WARP,
        "registers": getattr(properties, "regs_per_multiprocessor", None),
        "shared_bytes": getattr(properties, "shared_memory_per_multiprocessor", None),
    }
    return {name: value for name, value in told.items() if value is not None}


def occupancy(
    card: Card | None, block: Sequence[int], registers: int | None, shared_bytes: int | None
) -> float | None:
    """Resident warps as a share of the most a multiprocessor holds; None where something is not known."""
    if card is None or not block or registers is None or shared_bytes is None:
        return None
    warps = -(-prod(block) // WARP)
    of_warp = _rounded(max(registers, 1) * WARP, REGISTERS_AT_ONCE)
    of_block = _rounded(shared_bytes + SHARED_OF_SYSTEM, SHARED_AT_ONCE)
    fitting = min(
        BLOCKS,
        card.warps // warps,
        card.registers // of_warp // warps,
        card.shared_bytes // of_block,
    )
    return fitting * warps / card.warps


def _rounded(amount: int, step: int) -> int:
    return -(-amount // step) * step
