"""torch FlexAttention (arXiv 2412.05496), compiled, with a causal block mask."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lbench.backends.spec import HEADS_FIRST, Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 128
"""Tokens of a block of the mask: FlexAttention's default."""


def build(case: Case, _: Mapping[str, Tensor]) -> Forward:
    """`flex_attention` compiled for this very case, which is where FlexAttention is fastest.

    The price is a compilation for each length; it falls into the first call and shows as compile_s.
    """
    compiled, mask = _compile(case)
    grouped = case.kv_heads != case.heads

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return compiled(q, k, v, block_mask=mask, enable_gqa=grouped)

    return forward


@functools.lru_cache(maxsize=1)
def _compile(case: Case) -> tuple[Any, Any]:
    """The compiled function and its mask, the same in every round of a case.

    Compiled code of earlier cases is dropped first and graph breaks are errors: past torch's limit of
    recompilations it would else run uncompiled, in silence.
    """
    import torch
    from torch.nn.attention.flex_attention import flex_attention

    torch._dynamo.reset()
    # A graph kept for many backward passes must keep its buffers.
    torch._functorch.config.donated_buffer = case.pass_name != "bwd"
    compiled = torch.compile(flex_attention, dynamic=False, fullgraph=True)
    return compiled, causal_block_mask(case.seq_len, case.device)


def causal_block_mask(seq_len: int, device: str) -> Any:
    """The BlockMask of causal attention, written down directly.

    `create_block_mask` would first make all seq_len x seq_len entries. A row of blocks has one partial block,
    on the diagonal, and full blocks left of it; in a ragged last row all blocks are partial.
    """
    import torch
    from torch.nn.attention.flex_attention import BlockMask

    blocks = -(-seq_len // BLOCK)
    every = torch.arange(blocks, dtype=torch.int32, device=device)
    full_count, full = every.clone(), every.repeat(blocks, 1)
    partial_count, partial = torch.ones_like(every), torch.zeros_like(full)
    partial[:, 0] = every
    if seq_len % BLOCK:
        full_count[-1], partial_count[-1], partial[-1] = 0, blocks, every
    return BlockMask.from_kv_blocks(
        partial_count[None, None],
        partial[None, None],
        full_count[None, None],
        full[None, None],
        BLOCK_SIZE=BLOCK,
        mask_mod=lambda batch, head, q_index, k_index: q_index >= k_index,
        seq_lengths=(seq_len, seq_len),
    )


BACKEND = Backend(
    mechanism="softmax",
    title="FlexAttention",
    marker="D",
    build=build,
    layout=HEADS_FIRST,
    limits=Limits(
        dtypes=("bf16", "fp16", "fp32"), head_dim=(16, 256), grouped_heads=True, capability=((7, 0), (99, 9))
    ),
    packages=("torch", "triton"),
    kernels={"fwd": ("^triton_tem_",), "bwd": ("^triton_tem_",)},
)
