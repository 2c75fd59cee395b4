"""How a block makes what its mixer is called with: one entry a mechanism that needs more than projections.

A tensor without an entry is a plain projection of the block's input. To put a new mechanism into models,
say here what its tensors need; a mechanism of plain projections needs no entry.
"""

from __future__ import annotations

from dataclasses import dataclass

from lbench import mechanisms


@dataclass(frozen=True, kw_only=True)
class Feed:
    """How one tensor of a mechanism is made."""

    source: str = "input"
    """input (of the block) | x (the tensor of that name, after its convolution) | learned (no projection)."""
    rank: int = 0
    """Width of a low-rank projection; 0: full."""
    bias: bool = False
    rate: bool = False
    """Times a learned -exp(number) a head: a decay."""
    wide: bool = False
    """fp32 whatever the dtype, as its mechanism has it."""
    activation: str = ""
    """One of `layers.ACTIVATIONS`; the mechanism's own, beside those that a model's block adds."""


def feeds_of(mechanism: str, width: int) -> dict[str, Feed]:
    """Tensor -> its feed, in the mechanism's order, for a block of that width."""
    named = _named(width).get(mechanism, {})
    return {name: named.get(name, Feed()) for name in mechanisms.load(mechanism).tensors}


def _named(width: int) -> dict[str, dict[str, Feed]]:
    decay = Feed(source="learned", activation="negative_exp")
    delta = {
        "q": Feed(activation="l2"),
        "k": Feed(activation="l2"),
        "beta": Feed(activation="sigmoid"),
    }
    return {
        "gla": {"g": Feed(rank=min(16, width), bias=True, activation="log_gate")},
        "mamba1": {
            # As in the published block: dt, B and C are projections of x, dt through a low rank.
            "dt": Feed(source="x", rank=max(-(-width // 16), 1), bias=True, activation="softplus"),
            "B": Feed(source="x"),
            "C": Feed(source="x"),
            "A": decay,
        },
        "mamba2": {"dt": Feed(bias=True, wide=True, activation="softplus"), "A": decay},
        "deltanet": delta,
        "gated_deltanet": {
            **delta,
            "g": Feed(bias=True, rate=True, wide=True, activation="softplus"),
        },
    }
