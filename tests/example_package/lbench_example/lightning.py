"""Lightning attention, token by token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends.spec import Backend, Forward, Limits
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor

NUMBER = 1


def build(case: Case, constants: Mapping[str, Tensor]) -> Forward:
    import torch

    decay = torch.exp(-constants["slopes"])[:, None, None]  # [H, 1, 1]

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        state = q.new_zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[3])
        outputs = []
        for token in range(q.shape[1]):
            state = decay * state + k[:, token, :, :, None] * v[:, token, :, None, :]
            outputs.append(torch.einsum("bhd,bhde->bhe", q[:, token], state))
        return torch.stack(outputs, 1)

    return forward


BACKEND = Backend(
    mechanism="lightning",
    title="example",
    build=build,
    limits=Limits(dtypes=("fp32",), devices=("cpu",)),
    packages=("lbench_example",),
)
