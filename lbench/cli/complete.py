"""What a shell completes: the names that there are, each kind from one source."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def _backends() -> Iterable[str]:
    from lbench import backends

    return backends.names()


def _mechanisms() -> Iterable[str]:
    from lbench import mechanisms

    return mechanisms.names()


def _suites() -> Iterable[str]:
    from lbench import suite

    return suite.names()


def _passes() -> Iterable[str]:
    from lbench.case import ALL_PASSES

    return ALL_PASSES


def _dtypes() -> Iterable[str]:
    from lbench.case import DTYPES

    return DTYPES


def _models() -> Iterable[str]:
    from lbench import models

    return models.names()


def _metrics() -> Iterable[str]:
    from lbench.metrics import METRICS

    return METRICS


SOURCES: dict[str, Callable[[], Iterable[str]]] = {
    "backends": _backends,
    "mechanisms": _mechanisms,
    "suites": _suites,
    "models": _models,
    "passes": _passes,
    "dtypes": _dtypes,
    "metrics": _metrics,
}
"""Kind -> its names. A new kind is an entry here and a function below that options name."""


def listed(kind: str, incomplete: str) -> list[str]:
    """What may stand where `incomplete` does, in a list `a,b`: names not in it yet."""
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [
        f"{before}{comma}{name}" for name in SOURCES[kind]() if name.startswith(last) and name not in given
    ]


def backends(incomplete: str) -> list[str]:
    """Backends."""
    return listed("backends", incomplete)


def models(incomplete: str) -> list[str]:
    """Models."""
    return listed("models", incomplete)


def mechanisms(incomplete: str) -> list[str]:
    """Mechanisms."""
    return listed("mechanisms", incomplete)


def suites(incomplete: str) -> list[str]:
    """Suites."""
    return listed("suites", incomplete)


def passes(incomplete: str) -> list[str]:
    """Passes."""
    return listed("passes", incomplete)


def dtypes(incomplete: str) -> list[str]:
    """Dtypes."""
    return listed("dtypes", incomplete)


def metrics(incomplete: str) -> list[str]:
    """Metrics."""
    return listed("metrics", incomplete)
