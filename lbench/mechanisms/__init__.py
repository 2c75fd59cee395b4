"""Mechanisms: what is computed. One file each; a file's name is its mechanism's name.

A mechanism owns the inputs, the reference, the cost formulas and the semantic contract. Its reference shares
no code with any backend. Listing mechanisms imports no torch.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil

from lbench.errors import unknown
from lbench.mechanisms.spec import Mechanism

_NOT_MECHANISMS = {"spec", "costs", "draws", "segments", "softmax_truth", "delta_rule"}


@functools.cache
def names() -> list[str]:
    """Names of all mechanisms, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _NOT_MECHANISMS)


@functools.cache
def load(name: str) -> Mechanism:
    """The mechanism of that name."""
    if name not in names():
        raise unknown("mechanism", name, names())
    module = importlib.import_module(f"{__name__}.{name}")
    return dataclasses.replace(module.MECHANISM, name=name)
