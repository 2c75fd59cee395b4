"""Names and words as figures and tables show them: backends, passes, verdicts."""

from __future__ import annotations

from lbench import backends

FLAGSHIP = "lightning_triton"
"""The backend that the project is about; speeds are relative to it unless another is asked for."""
MECHANISM_ORDER = (
    "softmax",
    "lightning",
    "linear",
    "retention",
    "gla",
    "deltanet",
    "gated_deltanet",
    "mamba1",
    "mamba2",
)
SHORT = {
    "out_of_memory": "OOM",
    "timeout": "T/O",
    "skipped": "skip",
    "wrong": "wrong",
    "unsupported": "unsup",
    "unavailable": "n/a",
    "crashed": "crash",
    "failed": "fail",
}
"""Verdicts where there is little room."""
MEANINGS = {
    "out_of_memory": "out of memory",
    "timeout": "over the time limit",
    "skipped": "predicted to exceed memory, the time limit or the budget",
    "wrong": "not the reference's result",
    "unsupported": "outside the backend's limits",
    "unavailable": "package not there",
    "crashed": "process gone",
    "failed": "Python error",
}
NOT_THERE = frozenset({"unsupported", "unavailable"})
"""Verdicts of a backend that never was in the race; where it has no other, a note says so."""
PASS_TITLES = {
    "fwd": "forward",
    "bwd": "backward",
    "fwdbwd": "forward + backward",
    "train": "training step",
    "prefill": "prefill",
    "decode": "decoding one token",
}


def rate_title(device: str) -> str:
    """What tokens a second are called of models: of a GPU papers say them a card."""
    return "tokens/s" if device == "cpu" else "tokens a GPU and second"


def rank(backend: str, mechanism: str) -> tuple[int, str, str]:
    """Sorts backends by mechanism, those of no known one last."""
    known = mechanism in MECHANISM_ORDER
    return MECHANISM_ORDER.index(mechanism) if known else len(MECHANISM_ORDER), mechanism, backend


def title(backend: str) -> str:
    """A backend as tables and legends show it; a user's `path/mine.py:function` as `function (mine.py)`."""
    if backend in backends.names() and (given := backends.load(backend).title):
        return given
    path, colon, function = backend.rpartition(":")
    return f"{function} ({path.rpartition('/')[2]})" if colon else backend


def full_title(backend: str) -> str:
    """The title with the mechanism behind it, for a comparison across mechanisms: `SDPA flash [softmax]`."""
    known = backend in backends.names()
    return f"{title(backend)} [{backends.load(backend).mechanism}]" if known else title(backend)
