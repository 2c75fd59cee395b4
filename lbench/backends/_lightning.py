"""This project's lightning kernels, as three mechanisms call them that differ in decay and scale alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbench.backends.spec import Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor

LIMITS = Limits(
    passes=("fwd", "bwd", "fwdbwd", "decode"),
    dtypes=("bf16", "fp16", "fp32"),
    head_dim=(16, 256),
    carries=True,
)
PACKAGES = ("triton", "lightning_attention")
# The package takes the fastest path that serves a call; `lightning_plain` must take the plain one.
KERNELS = {
    "fwd": ("^(hopper_)?walk_kernel",),
    "bwd": ("^(hopper_)?walk_kernel", "^(walk|hopper_gradients)_kernel"),
    "decode": ("^step_kernel",),
}
PLAIN_KERNELS = {"fwd": ("^walk_kernel",), "bwd": ("^walk_kernel",)}


def bind(case: Case, slopes: Tensor, scale: float = 1.0, path: str | None = None) -> Forward:
    """`lightning_attention` with slopes [H] and a scale, or its step with a new state for a decoding step.

    With `path` the forward, and the backward that follows it, take that path; else the package chooses.
    A step has one path only.
    """
    from lightning_attention import lightning_attention, lightning_attention_step

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return lightning_attention(q, k, v, slopes, scale=scale)[0]

    def carried(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        o, new_state = lightning_attention(
            q, k, v, slopes, scale=scale, initial_state=state, output_final_state=True
        )
        assert new_state is not None
        return o, new_state

    def step(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        token = (tensor.squeeze(1) for tensor in (q, k, v))
        o, new_state = lightning_attention_step(*token, slopes, state, scale=scale)
        return o.unsqueeze(1), new_state

    if case.pass_name == "decode":
        return step
    function = carried if case.pass_name == "prefill" else forward
    return function if path is None else _on_path(function, path)


def _on_path(forward: Forward, path: str) -> Forward:
    from lightning_attention.paths import force_path

    def forced(**tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        with force_path(path):
            return forward(**tensors)

    return forced
