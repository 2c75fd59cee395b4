"""Inputs that look like a model's, drawn from a case's seed on its device without a wider copy.

Queries and keys have a standard deviation of head_dim^-1/4 (so that q.k is about one), values of one, with a
mild log-normal scale a channel: an undecayed sum over a million tokens stays below fp16's largest number, and
so do its gradients. Every tensor has a generator of its own, seeded by the case's seed and the tensor's name.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

from lbench.case import Case
from lbench.mechanisms.spec import MAMBA1_STATE, Mechanism, shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CHANNEL_SPREAD = 0.2
"""Standard deviation of the logarithm of a channel's scale."""
OUTLIER = 1e4
"""An outlier's size relative to the other tokens: they shrink by its root, the one token grows by it."""
OUTLIER_TOKENS = 256
"""Tokens after which a sum with an outlier grows too large for fp16: longer cases get smaller values."""
OUTLIER_AT = 16
"""The outlier stands after this fraction of the sequence (1/16)."""
MEAN = 4.0
"""Mean of `mean` inputs in standard deviations."""
MEAN_TOKENS = 128
"""Tokens after which a sum over `mean` inputs grows too large for fp16: longer cases get smaller values."""


def generator(case: Case, name: str, device: str) -> torch.Generator:
    """The generator of tensor `name`."""
    import torch

    return torch.Generator(device).manual_seed(zlib.crc32(f"{case.seed}:{name}".encode()))


def dtype_of(case: Case) -> torch.dtype:
    """The torch dtype of a case."""
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[case.dtype]


def output_gradient(case: Case, shape: tuple[int, ...], device: str, dtype: torch.dtype) -> Tensor:
    """A dense gradient of the output, N(0, 1)."""
    import torch

    return torch.randn(shape, generator=generator(case, "do", device), device=device, dtype=dtype)


def normal(case: Case, name: str, mechanism: Mechanism, device: str, std: float = 1.0) -> Tensor:
    """Tensor `name` in the case's dtype, N(0, std) times a scale a channel (all axes but batch and time)."""
    import torch

    dims = _dims(case, mechanism)[name]
    draw = generator(case, name, device)
    scale = torch.randn(shape(dims[2:], case), generator=draw, device=device).mul_(CHANNEL_SPREAD).exp_()
    tensor = torch.randn(shape(dims, case), generator=draw, device=device, dtype=dtype_of(case))
    return tensor.mul_(scale.mul_(std))


def linear_tensors(
    case: Case, device: str, mechanism: Mechanism, *, summed: bool = True
) -> dict[str, Tensor]:
    """q, k, v of a linear recurrence in the case's kind of inputs, and the state for a decoding step.

    `summed` says that the state may remember everything, so that hard values must shrink with the length.
    """
    std = case.head_dim**-0.25
    tensors = {name: normal(case, name, mechanism, device, std) for name in ("q", "k")}
    tensors["v"] = normal(case, "v", mechanism, device)
    _harden(case, key=tensors["k"], value=tensors["v"], key_std=std, summed=summed)
    return tensors | _state(case, device, mechanism)


def attention_tensors(case: Case, device: str, mechanism: Mechanism) -> dict[str, Tensor]:
    """q, k, v of softmax attention, and for a decoding step the cache with its last slot free (zero)."""
    std = case.head_dim**-0.25
    stds = {"q": std, "k": std, "v": 1.0, "k_cache": std, "v_cache": 1.0}
    tensors = {name: normal(case, name, mechanism, device, stds[name]) for name in _dims(case, mechanism)}
    decode = case.pass_name == "decode"
    key, value = (tensors["k_cache"], tensors["v_cache"]) if decode else (tensors["k"], tensors["v"])
    _harden(case, key=key, value=value, key_std=std, summed=False)
    if decode:
        key[:, -1].zero_()
        value[:, -1].zero_()
    return tensors


def delta_tensors(case: Case, device: str, mechanism: Mechanism) -> dict[str, Tensor]:
    """q, k of length 1, v, beta in (0, 1), and where the mechanism has one its gate as models begin with it:

    g = -A softplus(...), A from 0 to 16 a head and the softplus around 0.001 to 0.1, in fp32. A state holds a
    value for every key, so its entries are about 1.
    """
    import torch

    dims = _dims(case, mechanism)
    std = case.head_dim**-0.25
    tensors = {name: normal(case, name, mechanism, device, std) for name in ("q", "k")}
    tensors["v"] = normal(case, "v", mechanism, device)
    _harden(case, key=tensors["k"], value=tensors["v"], key_std=std, summed=False)
    for name in ("q", "k"):
        length = torch.linalg.vector_norm(tensors[name], dim=-1, keepdim=True, dtype=torch.float32)
        tensors[name].div_(length)
    tensors["beta"] = normal(case, "beta", mechanism, device).sigmoid_()
    if "g" in dims:
        draw = generator(case, "g", device)
        rate, base = (torch.rand(shape("h", case), generator=draw, device=device) for _ in range(2))
        base = base.mul_(math.log(100.0)).add_(math.log(1e-3)).exp_()
        spread = torch.randn(shape(dims["g"], case), generator=draw, device=device)
        tensors["g"] = spread.mul_(0.3).exp_().mul_(rate.mul_(-16).mul_(base))
    if "state" in dims:
        draw = generator(case, "state", device)
        tensors["state"] = torch.randn(shape(dims["state"], case), generator=draw, device=device)
    return {name: tensors[name] for name in dims}


def scan_tensors(case: Case, device: str, mechanism: Mechanism) -> dict[str, Tensor]:
    """x, dt, A, B, C of Mamba's scans: time steps around 0.001 to 0.05, and A from -1 to -16."""
    import torch

    dims = _dims(case, mechanism)
    std = (case.head_dim if "d" in dims["B"] else MAMBA1_STATE) ** -0.25
    tensors = {name: normal(case, name, mechanism, device, std) for name in ("B", "C")}
    tensors["x"] = normal(case, "x", mechanism, device)
    _harden(case, key=tensors["B"], value=tensors["x"], key_std=std, summed=False)
    draw = generator(case, "dt", device)
    base = torch.rand(shape(dims["dt"][2:], case), generator=draw, device=device)
    base = base.mul_(math.log(50.0)).add_(math.log(1e-3)).exp_()
    dtype = torch.float32 if dims["dt"] == "bth" else dtype_of(case)
    spread = torch.randn(shape(dims["dt"], case), generator=draw, device=device, dtype=dtype)
    tensors["dt"] = spread.mul_(0.3).exp_().mul_(base)
    rate = torch.rand(shape(dims["A"], case), generator=generator(case, "A", device), device=device)
    if "n" in dims["A"]:
        steps = torch.arange(1, MAMBA1_STATE + 1, device=device)
        tensors["A"] = -steps * (0.9 + 0.2 * rate)
    else:
        tensors["A"] = -(1 + 15 * rate)
    return {name: tensors[name] for name in dims if name != "state"} | _state(case, device, mechanism)


def _dims(case: Case, mechanism: Mechanism) -> dict[str, str]:
    return dict(mechanism.decode_tensors if case.pass_name == "decode" else mechanism.tensors)


def _state(case: Case, device: str, mechanism: Mechanism) -> dict[str, Tensor]:
    """The fp32 state before a decoding step, as if `seq_len` tokens of an undecayed sum were in it."""
    import torch

    if case.pass_name != "decode":
        return {}
    size = shape(mechanism.decode_tensors["state"], case)
    state = torch.randn(size, generator=generator(case, "state", device), device=device)
    return {"state": state.mul_(min(case.seq_len, 1024) ** 0.5 * case.head_dim**-0.25)}


def _harden(case: Case, *, key: Tensor, value: Tensor, key_std: float, summed: bool) -> None:
    """Turn model-like keys and values into the case's kind, in place."""
    if case.inputs == "outlier":
        value.mul_(OUTLIER**-0.5 * (min(1.0, OUTLIER_TOKENS / case.seq_len) ** 0.5 if summed else 1.0))
        value[:, value.shape[1] // OUTLIER_AT].mul_(OUTLIER)
    elif case.inputs == "mean":
        key.add_(MEAN * key_std)
        value.add_(MEAN)
        if summed:
            value.mul_(min(1.0, MEAN_TOKENS / case.seq_len))
