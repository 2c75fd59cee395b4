"""AdamW's step of one tensor as one Triton kernel: each number is read once and written once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from lbench.models.adamw import Rates

BLOCK = 2048


@triton.jit(do_not_specialize=["seed"])
def adamw_kernel(
    weight,
    gradient,
    first,
    second,
    count,
    learning,
    beta1,
    beta2,
    epsilon,
    kept,
    first_scale,
    second_scale,
    seed,
    STOCHASTIC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """weight [count] of any dtype, moments fp32; `kept` is 1 - learning rate x decay.

    The scales are 1 / (1 - beta^steps). STOCHASTIC: the weight is bf16, rounded up with the probability of
    the part that is cut off.
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    g = tl.load(gradient + at, mask=inside, other=0.0).to(tl.float32)
    m = tl.load(first + at, mask=inside, other=0.0)
    v = tl.load(second + at, mask=inside, other=0.0)
    w = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    m = m + (g - m) * (1 - beta1)
    v = v * beta2 + g * g * (1 - beta2)
    w = w * kept - learning * (m * first_scale) / (tl.sqrt(v * second_scale) + epsilon)
    if STOCHASTIC:
        bits = w.to(tl.int32, bitcast=True)
        chance = tl.randint(seed, at.to(tl.int32)) & 0xFFFF
        bits = (bits + chance.to(tl.int32)) & -65536
        w = bits.to(tl.float32, bitcast=True)
    tl.store(first + at, m, mask=inside)
    tl.store(second + at, v, mask=inside)
    tl.store(weight + at, w.to(weight.dtype.element_ty), mask=inside)


def launch(
    weight: Tensor, gradient: Tensor, moments: tuple[Tensor, Tensor], rates: Rates, steps: int, number: int
) -> None:
    """One step of a weight; `number` tells tensors apart, so that none share their chance."""
    gradient = gradient.contiguous()
    count = weight.numel()
    adamw_kernel[(triton.cdiv(count, BLOCK),)](
        weight,
        gradient,
        *moments,
        count,
        rates.learning,
        rates.beta1,
        rates.beta2,
        rates.epsilon,
        1 - rates.learning * rates.decay,
        1 / (1 - rates.beta1**steps),
        1 / (1 - rates.beta2**steps),
        (steps * 1_000_003 + number) & 0x7FFFFFFF,
        STOCHASTIC=weight.dtype == torch.bfloat16,
        BLOCK=BLOCK,
        num_warps=8,
    )
