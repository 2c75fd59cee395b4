"""The delta rule in float64: a value replaces what the state answered for its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbench.case import Case
from lbench.mechanisms.segments import BLOCK, Recurrence, Tensors

if TYPE_CHECKING:
    from torch import Tensor


def delta_recurrence(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """S_t = exp(g_t) (1 - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T, o_t = q_t S_t.

    q, k [B, T, H, D], v [B, T, H, E], beta and log decay g [B, T, H]; o [B, T, H, E], last S [B, H, D, E].
    What token i adds is k_i u_i^T with u_i = beta_i (v_i - k_i exp(g_i) S_{i-1}); within a block the u solve
    one triangular system whose right side holds the state at the block's start.
    """
    import torch

    length = q.shape[1]
    block = min(BLOCK, length)
    q, k, v, beta, log_decay = (
        _in_blocks(term, block) for term in (q, k, v, beta.unsqueeze(-1), log_decay.unsqueeze(-1))
    )
    summed = log_decay.cumsum(-2)  # [B, H, N, block, 1]
    decay = (summed - summed.mT).tril().exp().tril()
    system = (beta * (k @ k.mT) * decay).tril(-1)  # the ones of its diagonal are understood
    given, keys = beta * v, beta * summed.exp() * k
    to_end = (summed[..., -1:, :] - summed).exp() * k
    kept = summed[..., -1:, :].exp()
    starts, added = [], []
    for index in range(q.shape[2]):
        right = given[:, :, index] - keys[:, :, index] @ state
        u = torch.linalg.solve_triangular(system[:, :, index], right, upper=False, unitriangular=True)
        starts.append(state)
        added.append(u)
        state = kept[:, :, index] * state + to_end[:, :, index].mT @ u
    inter = (summed.exp() * q) @ torch.stack(starts, 2)
    output = inter + ((q @ k.mT) * decay) @ torch.stack(added, 2)
    return output.flatten(2, 3).movedim(1, 2)[:, :length], state


def _in_blocks(term: Tensor, block: int) -> Tensor:
    """[B, T, H, X] -> [B, H, N, block, X], filled up with zeros (which change no state)."""
    from torch.nn import functional

    padding = -term.shape[1] % block
    return functional.pad(term, (0, 0, 0, 0, 0, padding)).movedim(1, 2).unflatten(2, (-1, block))


def _segment(case: Case, tensors: Tensors, constants: Tensors, state: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v, beta = (tensors[name] for name in ("q", "k", "v", "beta"))
    log_decay = tensors["g"] if "g" in tensors else beta.new_zeros(beta.shape)
    return delta_recurrence(q * case.head_dim**-0.5, k, v, beta, log_decay, state)


def _numbers(case: Case) -> int:
    dims = case.head_dim + case.head_dim_v
    return case.heads * (4 * dims + 4 * BLOCK + 2 * case.head_dim * case.head_dim_v // BLOCK)


RECURRENCE = Recurrence(segment=_segment, numbers=_numbers)
"""Of both mechanisms: the one whose tensors have no gate `g` decays nothing."""
