"""Tiles by dtype and dims: a table, not autotuning, so that a first call compiles once and results repeat."""

from __future__ import annotations

import dataclasses
import functools

import torch

ROOMY_BYTES = 200 * 1024  # shared memory a program may take from H100 on (227 KiB); A100 has 163, others 99


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tile:
    """How a walk is cut: tokens a block, columns of v a program, and how the program is compiled."""

    block_t: int
    block_e: int  # at most: a narrower E takes the next power of two
    num_warps: int
    num_stages: int
    programs_per_sm: int = 1


# Keyed by the padded dim of q and k. The state [BLOCK_D, BLOCK_E] stays in registers, so wide dims take tiles
# of E, and several programs read the same q and k (the second time from L2). Measured on an H100 at
# D = E = 128 (LOG.md): four warps and half of E twice on an SM reach 0.76 to 0.80 of the memory floor, eight
# warps and all of E 0.65 to 0.69.
TILES_16_BIT = {
    16: Tile(block_t=64, block_e=64, num_warps=4, num_stages=2, programs_per_sm=2),
    32: Tile(block_t=64, block_e=64, num_warps=4, num_stages=2, programs_per_sm=2),
    64: Tile(block_t=64, block_e=64, num_warps=4, num_stages=2, programs_per_sm=2),
    128: Tile(block_t=64, block_e=64, num_warps=4, num_stages=2, programs_per_sm=2),
    256: Tile(block_t=64, block_e=64, num_warps=4, num_stages=1, programs_per_sm=2),
}
# D = 256 with a narrower E. With four warps and fewer columns than 64 Triton 3.6 compiles a product that
# reads out of range; and a walk of unequal dims has the programs that fit its other direction: one an SM.
TILE_256_NARROW = Tile(block_t=64, block_e=64, num_warps=8, num_stages=2)
# Cards with less shared memory, whose tensor cores also take operands from registers only (compute capability
# 8.0 to 8.9, 12.0): wide states would spill.
TILES_16_BIT_SMALL = {
    **TILES_16_BIT,
    128: Tile(block_t=64, block_e=64, num_warps=4, num_stages=2),
    256: Tile(block_t=32, block_e=32, num_warps=4, num_stages=1),
}
# fp32 as three products of tf32, on tensor cores that read shared memory: states spill (D = 128: 1.9 KB a
# thread), and still D = 128 takes a quarter of the time of IEEE products.
TILES_TF32X3 = {
    **{
        dim: Tile(block_t=64, block_e=64, num_warps=4, num_stages=1, programs_per_sm=2)
        for dim in (16, 32, 64, 128)
    },
    256: Tile(block_t=64, block_e=64, num_warps=8, num_stages=1),
}
# One product of tf32: blocks that every card with such units has room for.
TILES_TF32 = {
    **{
        dim: Tile(block_t=32, block_e=64, num_warps=4, num_stages=1, programs_per_sm=2)
        for dim in (16, 32, 64, 128)
    },
    256: Tile(block_t=32, block_e=64, num_warps=8, num_stages=1),
}
# IEEE products run on the plain fp32 units, whose operands Triton holds in registers: small blocks (D = 256
# still spills 312 bytes a thread).
TILES_IEEE = {
    16: Tile(block_t=32, block_e=32, num_warps=4, num_stages=2, programs_per_sm=4),
    32: Tile(block_t=32, block_e=32, num_warps=4, num_stages=2, programs_per_sm=4),
    64: Tile(block_t=32, block_e=32, num_warps=8, num_stages=2, programs_per_sm=2),
    128: Tile(block_t=16, block_e=16, num_warps=8, num_stages=2, programs_per_sm=2),
    256: Tile(block_t=16, block_e=16, num_warps=8, num_stages=2),
}
TILES_32_BIT = {"tf32x3": TILES_TF32X3, "tf32": TILES_TF32, "ieee": TILES_IEEE}

# States at cuts (states.py) take k and v alone: all of E at once, so that k is read once.
STATES_TILE = Tile(block_t=64, block_e=128, num_warps=8, num_stages=3)


def pad_dim(dim: int) -> int:
    """The power of two that holds a dim."""
    return 1 << (dim - 1).bit_length()


@functools.cache
def choose_tile(
    dtype: torch.dtype, dim: int, dim_out: int, shared_bytes: int = ROOMY_BYTES, products: str = "ieee"
) -> Tile:
    """The tile of a walk whose q and k have `dim` and whose v has `dim_out`.

    `shared_bytes` is the shared memory one program may take on the device, `products` how fp32 is multiplied.
    """
    roomy = shared_bytes >= ROOMY_BYTES
    if dtype is torch.float32:
        table = TILES_32_BIT[products]
    else:
        table = TILES_16_BIT if roomy else TILES_16_BIT_SMALL
    tile = table[pad_dim(dim)]
    if tile is TILES_16_BIT[256] and pad_dim(dim_out) < 256:
        tile = TILE_256_NARROW
    return dataclasses.replace(tile, block_e=min(tile.block_e, pad_dim(dim_out)))


def choose_states_tile(
    dtype: torch.dtype, dim: int, dim_out: int, shared_bytes: int = ROOMY_BYTES, products: str = "ieee"
) -> Tile:
    """The tile of the pass over k and v that makes the states at cuts."""
    tile = choose_tile(dtype, dim, dim_out, shared_bytes, products)
    wide = dtype is not torch.float32 and shared_bytes >= ROOMY_BYTES
    return STATES_TILE if wide and pad_dim(dim) <= 128 == pad_dim(dim_out) else tile
