"""Lightning attention by this project's own kernels, on the path in plain Triton that every card can take."""

from __future__ import annotations

import dataclasses

from lbench.backends import _lightning
from lbench.backends.spec import Backend

BACKEND = Backend(
    mechanism="lightning",
    title="Lightning (ours, plain Triton)",
    marker="H",
    build=lambda case, constants: _lightning.bind(case, constants["slopes"], path="plain"),
    # A decoding step has one path, which lightning_triton measures.
    limits=dataclasses.replace(_lightning.LIMITS, passes=("fwd", "bwd", "fwdbwd")),
    packages=_lightning.PACKAGES,
    kernels=_lightning.PLAIN_KERNELS,
)
