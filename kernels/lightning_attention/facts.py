"""What is known about the values of a tensor, kept while it lives and until it changes."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import torch

Version = tuple[int, int]
_facts: dict[int, tuple[weakref.ref[torch.Tensor], Version, dict[Any, Any]]] = {}


def facts_of(x: torch.Tensor) -> dict[Any, Any]:
    """The facts about x, to be read and added to; none where x is new or was changed since.

    They must not hold x itself. Changes are those that torch counts: not those in place through `.data`, and
    none of tensors made in inference mode.
    """
    version = version_of(x)
    kept = _facts.get(id(x))
    if kept is not None and kept[0]() is x and kept[1] == version:
        return kept[2]
    facts: dict[Any, Any] = {}
    _facts[id(x)] = (weakref.ref(x, functools.partial(_forget, id(x))), version, facts)
    return facts


def version_of(x: torch.Tensor) -> Version:
    """How often x was changed in place (-1 where torch does not count), and where it lies."""
    return -1 if x.is_inference() else x._version, x.data_ptr()


def _forget(key: int, gone: weakref.ref[torch.Tensor]) -> None:
    kept = _facts.get(key)
    if kept is not None and kept[0] is gone:
        del _facts[key]
