"""Lightning attention by this project's own Triton kernels."""

from __future__ import annotations

from lbench.backends import _lightning
from lbench.backends.spec import Backend

BACKEND = Backend(
    mechanism="lightning",
    title="Lightning (ours, Triton)",
    marker="o",
    build=lambda case, constants: _lightning.bind(case, constants["slopes"]),
    limits=_lightning.LIMITS,
    packages=_lightning.PACKAGES,
    kernels=_lightning.KERNELS,
)
