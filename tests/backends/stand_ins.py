"""Functions of the peers as their own documentation defines them, token by token, with their layouts.

They show on a CPU that each peer is called so that what it documents is what its mechanism means.
"""

from __future__ import annotations

import contextlib
import math
import sys
from types import ModuleType

import pytest
import torch


def install(monkeypatch: pytest.MonkeyPatch, name: str, **functions: object) -> None:
    """Puts a module of that name where `import` finds it, with its parent packages."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        path = ".".join(parts[:depth])
        module = sys.modules.get(path) or ModuleType(path)
        monkeypatch.setattr(module, "__path__", [], raising=False)
        monkeypatch.setitem(sys.modules, path, module)
        if depth > 1:
            monkeypatch.setattr(
                sys.modules[".".join(parts[: depth - 1])], parts[depth - 1], module, raising=False
            )
    for function_name, function in functions.items():
        monkeypatch.setattr(sys.modules[name], function_name, function, raising=False)


def _walk(q, k, v, log_decay, scale, state=None):
    """q, k [B, T, H, D], v [B, T, H, E], log_decay broadcastable to k; state [B, H, D, E]."""
    batch, _, heads, dim = q.shape
    state = torch.zeros(batch, heads, dim, v.shape[-1]) if state is None else state
    log_decay = log_decay.expand_as(k)
    outputs = []
    for t in range(q.shape[1]):
        state = log_decay[:, t].exp().unsqueeze(-1) * state + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
        outputs.append(torch.einsum("bhd,bhde->bhe", scale * q[:, t], state))
    return torch.stack(outputs, 1), state


def simple_gla(q, k, v, g=None, g_gamma=None, scale=None, initial_state=None, output_final_state=False):
    scale = k.shape[-1] ** -0.5 if scale is None else scale
    o, state = _walk(q, k, v, g_gamma.view(1, 1, -1, 1), scale, initial_state)
    return o, state if output_final_state else None


def linear_attn(q, k, v, scale=None, initial_state=None, output_final_state=False, normalize=True):
    scale = k.shape[-1] ** -0.5 if scale is None else scale
    o, _ = _walk(q, k, v, torch.zeros(1), scale)
    if normalize:
        o = o / ((q * scale * k.cumsum(1)).sum(-1, keepdim=True) + 1e-10)
    return o, None


def retention(q, k, v, scale=None, initial_state=None, output_final_state=False):
    gamma = 1 - 2.0 ** (-5.0 - torch.arange(q.shape[2]))
    return _walk(q, k, v, gamma.log().view(1, 1, -1, 1), q.shape[-1] ** -0.5)[0], None


def gla(q, k, v, g, scale=None, initial_state=None, output_final_state=False):
    return _walk(q, k, v, g, q.shape[-1] ** -0.5)[0], None


def lightning_attn_func(q, k, v, s=None):
    assert s is not None
    assert s.shape == (q.shape[1], 1, 1)
    first = (tensor.transpose(1, 2) for tensor in (q, k, v))
    return _walk(*first, -s.view(1, 1, -1, 1), 1.0)[0].transpose(1, 2)


def lightning_attn2_no_decay(q, k, v):
    return lightning_attn_func(q, k, v, torch.zeros(q.shape[1], 1, 1))


def lightning_attention(q, k, v, slopes, *, scale=1.0):
    return _walk(q, k, v, -slopes.view(1, 1, -1, 1), scale)[0], None


FORCED = []
"""Paths of the `force_path` blocks that are open."""


@contextlib.contextmanager
def force_path(path):
    FORCED.append(path)
    yield
    FORCED.pop()


def lightning_attention_step(q, k, v, slopes, state, *, scale=1.0, inplace=False):
    assert not inplace
    o, state = _walk(*(x.unsqueeze(1) for x in (q, k, v)), -slopes.view(1, 1, -1, 1), scale, state)
    return o.squeeze(1), state


def selective_scan_fn(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
    """u, delta [B, channels, T], A [channels, N] fp32, B, C [B, N, T]."""
    assert u.is_contiguous()
    assert A.dtype == torch.float32
    state, outputs = torch.zeros(*u.shape[:2], A.shape[1]), []
    for t in range(u.shape[2]):
        step = delta[:, :, t, None]
        state = (step * A).exp() * state + step * B[:, None, :, t] * u[:, :, t, None]
        outputs.append((state * C[:, None, :, t]).sum(-1))
    return torch.stack(outputs, 2)


def mamba_chunk_scan_combined(x, dt, A, B, C, chunk_size, D=None, z=None):
    """x [B, T, H, P], dt [B, T, H], A [H], B, C [B, T, groups, N]."""
    assert B.shape[2] == 1
    keys, queries = (tensor.expand(-1, -1, x.shape[2], -1) for tensor in (B, C))
    return _walk(queries, keys, dt.unsqueeze(-1) * x, (dt * A).unsqueeze(-1), 1.0)[0]


def delta_rule(q, k, v, beta, initial_state=None, output_final_state=False):
    return gated_delta_rule(q, k, v, torch.zeros_like(beta), beta, initial_state, output_final_state)


def gated_delta_rule(q, k, v, g, beta, initial_state=None, output_final_state=False):
    batch, _, heads, dim = q.shape
    state = q.new_zeros(batch, heads, dim, v.shape[-1]) if initial_state is None else initial_state
    outputs = []
    for t in range(q.shape[1]):
        state = g[:, t, :, None, None].exp() * state
        missing = v[:, t] - (k[:, t].unsqueeze(-2) @ state).squeeze(-2)
        state = state + k[:, t].unsqueeze(-1) * (beta[:, t].unsqueeze(-1) * missing).unsqueeze(-2)
        outputs.append((q[:, t].unsqueeze(-2) @ state).squeeze(-2) * dim**-0.5)
    return torch.stack(outputs, 1), state if output_final_state else None


def fused_recurrent_gated_delta_rule(q, k, v, g=None, gk=None, gv=None, beta=None, **states):
    assert gk is None
    assert gv is None
    return gated_delta_rule(q, k, v, g, beta, **states)


def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False):
    """q [B, T, H, D], k, v [B, S, G, D]; the causal mask is aligned to the last query and key."""
    k, v = (tensor.repeat_interleave(q.shape[2] // tensor.shape[2], 2) for tensor in (k, v))
    scores = torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(q.shape[-1])
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1 + k.shape[1] - q.shape[1])
        scores = scores.masked_fill(future, -torch.inf)
    return torch.einsum("bhts,bshe->bthe", scores.softmax(-1), v)


def flash_attn_with_kvcache(q, k_cache, v_cache, k=None, v=None, *, cache_seqlens, causal=False):
    held = int(cache_seqlens[0])
    k_cache[:, held : held + 1], v_cache[:, held : held + 1] = k, v
    return flash_attn_func(q, k_cache[:, : held + 1], v_cache[:, : held + 1], causal=causal)


def flash_attn_func_of_cute(q, k, v, qv=None, gather_kv_indices=None, softmax_scale=None, causal=False):
    return flash_attn_func(q, k, v, softmax_scale=softmax_scale, causal=causal), None


MODULES = {
    "fla.ops.simple_gla": {"chunk_simple_gla": simple_gla, "fused_recurrent_simple_gla": simple_gla},
    "fla.ops.linear_attn": {"chunk_linear_attn": linear_attn},
    "fla.ops.retention": {"chunk_retention": retention},
    "fla.ops.gla": {"chunk_gla": gla},
    "fla.ops.delta_rule": {"chunk_delta_rule": delta_rule, "fused_recurrent_delta_rule": delta_rule},
    "fla.ops.gated_delta_rule": {
        "chunk_gated_delta_rule": gated_delta_rule,
        "fused_recurrent_gated_delta_rule": fused_recurrent_gated_delta_rule,
    },
    "lightning_attn.ops": {
        "lightning_attn_func": lightning_attn_func,
        "lightning_attn2_no_decay": lightning_attn2_no_decay,
    },
    "lightning_attention": {
        "lightning_attention": lightning_attention,
        "lightning_attention_step": lightning_attention_step,
    },
    "lightning_attention.paths": {"force_path": force_path},
    "selective_scan_cuda": {},
    "mamba_ssm.ops.selective_scan_interface": {"selective_scan_fn": selective_scan_fn},
    "mamba_ssm.ops.triton.ssd_combined": {"mamba_chunk_scan_combined": mamba_chunk_scan_combined},
    "flash_attn_2_cuda": {"__file__": "flash_attn_2_cuda.so"},
    "flash_attn": {"flash_attn_func": flash_attn_func, "flash_attn_with_kvcache": flash_attn_with_kvcache},
    "flash_attn.cute": {"flash_attn_func": flash_attn_func_of_cute},
    "flash_attn_interface": {
        "flash_attn_func": flash_attn_func,
        "flash_attn_with_kvcache": flash_attn_with_kvcache,
    },
    "fa3_fwd_interface": {
        "flash_attn_func": flash_attn_func,
        "flash_attn_with_kvcache": flash_attn_with_kvcache,
    },
}
