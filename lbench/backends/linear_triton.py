"""Linear attention without decay: this project's lightning kernels with slopes of zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lbench.backends import _lightning
from lbench.backends.spec import Backend, Forward
from lbench.case import Case

if TYPE_CHECKING:
    from torch import Tensor


def _build(case: Case, _: Mapping[str, Tensor]) -> Forward:
    import torch

    return _lightning.bind(case, torch.zeros(case.heads, dtype=torch.float32, device=case.device))


BACKEND = Backend(
    mechanism="linear",
    title="Linear (ours, Triton)",
    marker="o",
    build=_build,
    limits=_lightning.LIMITS,
    packages=_lightning.PACKAGES,
    kernels=_lightning.KERNELS,
)
