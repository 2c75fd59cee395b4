"""Tiles by dtype and dims: a table, not autotuning, so that a first call compiles once and results repeat."""

from __future__ import annotations

import dataclasses

import torch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tile:
    """How a walk is cut: tokens a block, columns of v a program, and how the program is compiled."""

    block_t: int
    block_e: int  # at most: a narrower E takes the next power of two, with fewer warps
    num_warps: int
    num_stages: int


# Keyed by the padded dim of q and k. The state [BLOCK_D, BLOCK_E] stays in registers, so a wider D has a
# narrower tile of E, and more programs read the same q and k. Chosen from what ptxas reports for sm_90 (with
# Triton 3.6): 16-bit tiles spill at most 96 bytes a thread and take at most 168 KiB of shared memory (72 KiB
# for D = E = 64).
TILES_16_BIT = {
    16: Tile(block_t=64, block_e=64, num_warps=4, num_stages=3),
    32: Tile(block_t=64, block_e=64, num_warps=4, num_stages=3),
    64: Tile(block_t=64, block_e=128, num_warps=8, num_stages=3),
    128: Tile(block_t=64, block_e=128, num_warps=8, num_stages=3),
    256: Tile(block_t=64, block_e=64, num_warps=8, num_stages=2),
}
# IEEE products run on the plain fp32 units, whose operands Triton holds in registers: small blocks (D = 256
# still spills 312 bytes a thread).
TILES_32_BIT = {
    16: Tile(block_t=32, block_e=32, num_warps=4, num_stages=2),
    32: Tile(block_t=32, block_e=32, num_warps=4, num_stages=2),
    64: Tile(block_t=32, block_e=32, num_warps=8, num_stages=2),
    128: Tile(block_t=16, block_e=16, num_warps=8, num_stages=2),
    256: Tile(block_t=16, block_e=16, num_warps=8, num_stages=2),
}


def pad_dim(dim: int) -> int:
    """The power of two that holds a dim."""
    return 1 << (dim - 1).bit_length()


def choose_tile(dtype: torch.dtype, dim: int, dim_out: int) -> Tile:
    """The tile of a walk whose q and k have `dim` and whose v has `dim_out`."""
    tile = (TILES_32_BIT if dtype is torch.float32 else TILES_16_BIT)[pad_dim(dim)]
    block_e = min(tile.block_e, pad_dim(dim_out))
    num_warps = max(4, tile.num_warps * block_e // tile.block_e)
    return dataclasses.replace(tile, block_e=block_e, num_warps=num_warps)
