"""Retention: this project's lightning kernels with retention's decay and scale."""

from __future__ import annotations

from lbench.backends import _lightning
from lbench.backends.spec import Backend

BACKEND = Backend(
    mechanism="retention",
    title="Retention (ours, Triton)",
    marker="o",
    build=lambda case, constants: _lightning.bind(case, constants["slopes"], scale=case.head_dim**-0.5),
    limits=_lightning.LIMITS,
    packages=_lightning.PACKAGES,
    kernels=_lightning.KERNELS,
)
