"""Every mechanism as its one-line definition says it, token by token in float64, for the tests only."""

from __future__ import annotations

import torch
from torch import Tensor


def recurrence(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """S_t = decay_t S_{t-1} + k_t v_t^T, o_t = q_t S_t; decay [B, T, H, D] in (0, 1]."""
    outputs = []
    for t in range(q.shape[1]):
        state = decay[:, t].unsqueeze(-1) * state + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
        outputs.append((q[:, t].unsqueeze(-2) @ state).squeeze(-2))
    return torch.stack(outputs, 1), state


def scalar_decay(
    tensors: dict[str, Tensor], slopes: Tensor, scale: float, state: Tensor
) -> tuple[Tensor, Tensor]:
    q = tensors["q"]
    decay = (-slopes).exp().view(1, 1, -1, 1).expand_as(q)
    return recurrence(q * scale, tensors["k"], tensors["v"], decay, state)


def gla(tensors: dict[str, Tensor], state: Tensor) -> tuple[Tensor, Tensor]:
    q = tensors["q"]
    return recurrence(q * q.shape[-1] ** -0.5, tensors["k"], tensors["v"], tensors["g"].exp(), state)


def delta_rule(tensors: dict[str, Tensor], state: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v, beta = (tensors[name] for name in ("q", "k", "v", "beta"))
    one = torch.eye(q.shape[-1], dtype=q.dtype)
    outputs = []
    for t in range(q.shape[1]):
        key, weight = k[:, t].unsqueeze(-1), beta[:, t, :, None, None]
        decay = tensors["g"][:, t, :, None, None].exp() if "g" in tensors else 1.0
        state = decay * (one - weight * key @ key.mT) @ state + weight * key @ v[:, t].unsqueeze(-2)
        outputs.append((q[:, t].unsqueeze(-2) @ state).squeeze(-2) * q.shape[-1] ** -0.5)
    return torch.stack(outputs, 1), state


def mamba1(tensors: dict[str, Tensor], state: Tensor) -> tuple[Tensor, Tensor]:
    x, dt, A, B, C = (tensors[name] for name in ("x", "dt", "A", "B", "C"))
    outputs = []
    for t in range(x.shape[1]):
        step = dt[:, t].unsqueeze(-1)
        state = (step * A).exp() * state + step * B[:, t, None, None] * x[:, t].unsqueeze(-1)
        outputs.append((state * C[:, t, None, None]).sum(-1))
    return torch.stack(outputs, 1), state


def mamba2(tensors: dict[str, Tensor], state: Tensor) -> tuple[Tensor, Tensor]:
    x, dt, A, B, C = (tensors[name] for name in ("x", "dt", "A", "B", "C"))
    outputs = []
    for t in range(x.shape[1]):
        step = dt[:, t, :, None, None]
        added = step * B[:, t, None, :, None] * x[:, t, :, None, :]
        state = (dt[:, t] * A).exp()[:, :, None, None] * state + added
        outputs.append(torch.einsum("bd,bhde->bhe", C[:, t], state))
    return torch.stack(outputs, 1), state


def softmax(tensors: dict[str, Tensor]) -> Tensor:
    q, k, v = tensors["q"], tensors["k"], tensors["v"]
    group = q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)
    scores = torch.einsum("bthd,bshd->bhts", q, k) * q.shape[-1] ** -0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1 + k.shape[1] - q.shape[1])
    return torch.einsum("bhts,bshe->bthe", scores.masked_fill(future, -torch.inf).softmax(-1), v)


def step(mechanism: str, tensors: dict[str, Tensor], constants: dict[str, Tensor], state: Tensor):
    """(o, state) of a recurrent mechanism from float64 tensors."""
    if mechanism == "lightning":
        return scalar_decay(tensors, constants["slopes"], 1.0, state)
    if mechanism == "linear":
        return scalar_decay(tensors, torch.zeros(state.shape[1], dtype=state.dtype), 1.0, state)
    if mechanism == "retention":
        return scalar_decay(tensors, constants["slopes"], tensors["q"].shape[-1] ** -0.5, state)
    others = {"gla": gla, "mamba1": mamba1, "mamba2": mamba2}
    return others.get(mechanism, delta_rule)(tensors, state)


def zero_state(mechanism: str, tensors: dict[str, Tensor]) -> Tensor:
    if mechanism == "mamba1":
        batch, _, heads, dim_v = tensors["x"].shape
        return torch.zeros(batch, heads, dim_v, tensors["B"].shape[-1], dtype=torch.float64)
    key, value = ("B", "x") if mechanism == "mamba2" else ("k", "v")
    batch, _, heads, dim_v = tensors[value].shape
    return torch.zeros(batch, heads, tensors[key].shape[-1], dim_v, dtype=torch.float64)
