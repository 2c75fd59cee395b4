"""The definition in float64, token by token and block by block; inputs and figures the tests share."""

from __future__ import annotations

import dataclasses

import torch

LIMITS = {  # relative RMS of output and of gradients
    torch.float32: (2e-5, 2e-5),
    torch.float16: (1e-3, 2e-3),
    torch.bfloat16: (5e-3, 8e-3),
}
DTYPES = [torch.float32, torch.float16] + ([torch.bfloat16] if torch.cuda.is_available() else [])


def recurrence(q, k, v, slopes, *, scale=1.0, initial_state=None):
    """S_t = exp(-slope) S_(t-1) + k_t v_t^T, o_t = scale q_t S_t, in float64; returns o and the last S."""
    q, k, v = q.double(), k.double(), v.double()
    batch, num_tokens, heads, dim = q.shape
    state = q.new_zeros(batch, heads, dim, v.shape[-1]) if initial_state is None else initial_state.double()
    decay = torch.exp(-slopes.double())[:, None, None]
    outputs = []
    for t in range(num_tokens):
        state = decay * state + k[:, t, :, :, None] * v[:, t, :, None, :]
        outputs.append(scale * torch.einsum("bhd,bhde->bhe", q[:, t], state))
    return torch.stack(outputs, 1), state


def blockwise(q, k, v, slopes, *, scale=1.0, initial_state=None, block=128):
    """The same in float64 for long sequences, where a token at a time takes too long."""
    q, k, v = (x.double().transpose(1, 2) for x in (q, k, v))  # [B, H, T, D]
    slopes = slopes.double()[:, None, None]
    state = (
        q.new_zeros(*q.shape[:2], q.shape[-1], v.shape[-1])
        if initial_state is None
        else initial_state.double()
    )
    outputs = []
    for begin in range(0, q.shape[2], block):
        q_i, k_i, v_i = (x[:, :, begin : begin + block] for x in (q, k, v))
        i = torch.arange(q_i.shape[2], device=q.device, dtype=torch.float64)
        lag = i[:, None] - i[None, :]
        decay = torch.exp(-slopes * lag.clamp(min=0)) * (lag >= 0)
        inside = (q_i @ k_i.transpose(-1, -2) * decay) @ v_i
        outputs.append(scale * (inside + torch.exp(-slopes * (i[:, None] + 1)) * (q_i @ state)))
        n = q_i.shape[2]
        weighted = k_i * torch.exp(-slopes * (n - 1 - i[:, None]))
        state = torch.exp(-slopes * n) * state + weighted.transpose(-1, -2) @ v_i
    return torch.cat(outputs, 2).transpose(1, 2), state


@dataclasses.dataclass
class Inputs:
    """q, k, v, slopes and an initial state, random from a seed."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    slopes: torch.Tensor
    initial_state: torch.Tensor

    @property
    def differentiable(self) -> list[torch.Tensor]:
        return [self.q, self.k, self.v, self.initial_state]

    @property
    def sequence(self) -> tuple[torch.Tensor, ...]:
        return self.q, self.k, self.v, self.slopes


def make_inputs(
    device, dtype, *, batch=1, tokens=100, heads=2, dim=16, dim_out=16, states=None, seed=0
) -> Inputs:
    """Decay of head 0 is steep, the last head has little; what requires a gradient requires it."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, dtype=dtype):
        x = torch.randn(*shape, generator=generator) * shape[-1] ** -0.25
        return x.to(device, dtype).requires_grad_()

    return Inputs(
        q=normal(batch, tokens, heads, dim),
        k=normal(batch, tokens, heads, dim),
        v=normal(batch, tokens, heads, dim_out),
        slopes=torch.tensor([2.0 ** -(i * 8 / heads + 1) for i in range(heads)], device=device),
        initial_state=normal(states or batch, heads, dim, dim_out, dtype=torch.float32),
    )


def relative_rms(x: torch.Tensor, reference: torch.Tensor) -> float:
    """|x - reference| / |reference|; NaN if either holds one, 0 where both are zero."""
    x, reference = x.detach().double(), reference.detach().double()
    lost = (x - reference).norm()
    return 0.0 if lost == 0 else (lost / reference.norm()).item()


def gradients(outputs, inputs, output_gradients) -> list[torch.Tensor]:
    """Gradients of inputs; output gradients take the dtype of their output."""
    cast = [g.to(o.dtype) for o, g in zip(outputs, output_gradients, strict=True)]
    return list(torch.autograd.grad(outputs, inputs, cast, allow_unused=True))
