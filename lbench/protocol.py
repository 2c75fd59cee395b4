"""The timing protocol as a value: what is kept with the rows, and when to stop sampling."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

L2 = ("cold", "warm")
TIMERS = ("auto", "events", "graph")
"""What a suite may ask for; `auto` is a graph for short calls and events for the others."""
SHORT_S = 200e-6
"""Calls below this are timed in a CUDA graph: a pair of events would be a part of the time."""


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """When to stop sampling, and how the samples of a case are spread over rounds."""

    budget_s: float = 1.0
    """Wall time for the samples of one case over all its rounds, the least number of samples permitting."""
    target: float = 0.005
    """Half width of the interval (99 %) over the median that is good enough."""
    least: int = 10
    """Samples of a case at the least, whatever the budget."""
    most: int = 1000
    """Samples of a case at the most."""
    rounds: int = 5
    """Turns that the cases of a group take in rotation."""
    slow_s: float = 0.25
    """Calls longer than this take `slow_least` samples at the least, in `slow_rounds`."""
    slow_least: int = 6
    """Samples of a slow call at the least."""
    slow_rounds: int = 3
    """Rounds of a slow call."""
    long_s: float = 1.0
    """Calls longer than this serve several purposes at once, and none is made only to warm up."""
    very_slow_s: float = 5.0
    """Calls longer than this take `very_slow_samples`, no more, in `very_slow_rounds`."""
    very_slow_samples: int = 5
    """Samples of a very slow call, no more and no fewer."""
    very_slow_rounds: int = 2
    """Rounds of a very slow call."""
    warm_up_s: float = 0.05
    """Unmeasured calls at the beginning of every round; one call where it is slow, none where it is long."""

    def is_long(self, call_s: float) -> bool:
        """Whether a call of that length is too dear to be made for one purpose alone."""
        return call_s > min(self.long_s, self.very_slow_s)

    def least_samples(self, call_s: float) -> int:
        """The fewest samples for a call of that length."""
        if call_s > self.very_slow_s:
            return self.very_slow_samples
        return self.slow_least if call_s > self.slow_s else self.least

    def most_samples(self, call_s: float) -> int:
        """The most samples for a call of that length."""
        return self.very_slow_samples if call_s > self.very_slow_s else self.most

    def rounds_of(self, call_s: float) -> int:
        """In how many rounds a call of that length takes its samples."""
        if call_s > self.very_slow_s:
            return self.very_slow_rounds
        return self.slow_rounds if call_s > self.slow_s else self.rounds

    def warm_up_calls(self, call_s: float) -> int:
        """Unmeasured calls before the samples of a round."""
        if self.is_long(call_s):
            return 0
        return max(1, min(int(self.warm_up_s / call_s), 100))

    def calls(self, call_s: float) -> int:
        """Calls that samples and warm-up of a case take at the least."""
        return self.least_samples(call_s) + self.rounds_of(call_s) * self.warm_up_calls(call_s)

    def share(self, seen: int, spent_s: float, round_number: int, call_s: float) -> Stopping:
        """What one round may still take: its part of the samples and of the budget that are left.

        `round_number` counts from 0; `seen` and `spent_s` are what the rounds before it took.
        """
        left = max(self.rounds_of(call_s) - round_number, 1)
        least = max(math.ceil((self.least_samples(call_s) - seen) / left), 1)
        most = max(math.ceil((self.most_samples(call_s) - seen) / left), least)
        return dataclasses.replace(
            self, least=least, most=most, budget_s=max(self.budget_s - spent_s, 0.0) / left
        )


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How the samples of a row were taken; rows name it by the id of its content."""

    l2: str = "cold"
    """cold (last-level cache overwritten, or inputs rotated) | warm."""
    timer: str = "auto"
    """events | graph | wall (CPU); `auto` becomes one of them by the length of the call."""
    calls_per_sample: int = 1
    """Calls that one sample is the mean of: the chain of a CUDA graph."""
    input_copies: int = 1
    """Copies of the inputs that such a chain rotates over."""
    energy: bool = True
    """Whether calls are weighed too, which takes longer than the samples of a short one."""
    stopping: Stopping = field(default_factory=Stopping)

    def as_dict(self) -> dict[str, Any]:
        """The fields, as kept in `protocols/ID.json`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Protocol:
        """The inverse of `as_dict`."""
        return cls(**{**fields, "stopping": Stopping(**fields["stopping"])})
