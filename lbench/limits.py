"""What a constancy check allows: a suite's `[constancy]`, by default what lightning attention claims."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lbench.errors import UsageError, unknown


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one check; `[constancy]` of a suite has the same names."""

    alpha: float = 0.02
    """Time (or bytes) a token may grow or fall with this power of length."""
    worst_over_best: float = 1.10
    """The slowest length over the fastest."""
    floor_share: float = 0.5
    """The least share of the memory floor, of calls that fill the card: flat because slow is no merit."""
    fills_ms: float = 1.0
    """Memory floor (ms) from which a call fills the card: fixed costs of 30 us are then 3 % of it."""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not value >= 0:
                raise ValueError(f"{name} is {value!r}; it must be a number of at least 0")
        if self.worst_over_best < 1:
            raise ValueError(f"worst_over_best is {self.worst_over_best}; it must be at least 1")

    @classmethod
    def of(cls, given: Mapping[str, Any], where: str) -> Limits:
        """Limits with some replaced; UsageError for a name that is none, or a value that cannot be."""
        known = [entry.name for entry in dataclasses.fields(cls)]
        for name in given:
            if name not in known:
                raise UsageError(f"{where}: {unknown('key', name, known)}")
        try:
            return cls(**given)
        except ValueError as error:
            raise UsageError(f"{where}: {error}") from error
