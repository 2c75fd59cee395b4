"""Which models a person means by `1b`: all whose parameters are nearer to it than to its half or double."""

from __future__ import annotations

import re
from math import log, sqrt

from lbench import models
from lbench.errors import UsageError, unknown

WITHIN = sqrt(2)
"""Parameters of a class lie within this factor of its size."""
UNITS = {"m": 10**6, "b": 10**9}


def named(text: str) -> tuple[str, ...]:
    """The model of that name or config.json, or every model of that size class, the smallest first.

    UsageError for an unknown name, and where no model has that size.
    """
    wanted = _number(text)
    if wanted is None:
        if ".json" not in text and text not in models.names():
            raise UsageError(
                f"{str(unknown('model', text, models.names())).rstrip('?')}; a size is written 1b, 385m"
            )
        return (models.load(text).name,)
    counts = {name: models.load(name).parameters for name in models.names()}
    found = [name for name, count in counts.items() if wanted / WITHIN <= count <= wanted * WITHIN]
    if not found:
        near = sorted(counts, key=lambda name: abs(log(counts[name] / wanted)))[:3] if wanted else []
        told = ", ".join(f"{name} has {size_text(counts[name])}" for name in near)
        raise UsageError(f"no model has about {text} parameters; the nearest: {told or 'none'}")
    return tuple(sorted(found, key=lambda name: counts[name]))


def _number(text: str) -> float | None:
    """Parameters that `1b` or `385m` says; None where it says no size."""
    size = re.fullmatch(r"(\d+(?:\.\d+)?)([mb])", text.strip().lower())
    return float(size[1]) * UNITS[size[2]] if size else None


def size_text(parameters: float) -> str:
    """Parameters in three digits: 385M, 1.02B."""
    return f"{parameters / 1e9:.3g}B" if parameters >= 1e9 else f"{parameters / 1e6:.3g}M"


def family(name: str) -> str:
    """What models of several sizes share: `tnl` of `tnl-1b`."""
    return name if ".json" in name else name.rpartition("-")[0]


def size(name: str) -> str:
    """What models of several families share: `1b` of `tnl-1b`; one from a file shares its size with none."""
    return name if ".json" in name else name.rpartition("-")[2]


def size_number(name: str) -> float:
    """The parameters that a model is named by; 0 where its name says none."""
    return _number(size(name)) or 0.0
