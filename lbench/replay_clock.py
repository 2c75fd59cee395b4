"""The clock and the card of a replay: samples from a list, changed as a script says."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lbench.clock import Call, Reading
from lbench.telemetry import State


@dataclass(frozen=True, kw_only=True)
class Script:
    """What a `[[case]]` of replay.toml says of the cases that it matches."""

    match: str = "*"
    times_ms: tuple[float, ...] = ()
    verdict: str = ""
    reason: str = ""
    seed: int | None = None
    slowdown: float = 1.0
    drift: float = 0.0
    jump_ms: float = 0.0
    after: float = 0.5
    state: Mapping[str, Any] = field(default_factory=dict)
    silent: bool = False


@dataclass(kw_only=True)
class ReplayClock:
    """Readings from a list of samples, and the time that they take, which passes at once."""

    samples_ms: tuple[float, ...]
    script: Script
    first: int = 0
    """How many samples were read before."""
    random: random.Random = field(default_factory=random.Random)
    _elapsed_s: float = 0.0
    between_s = 0.0

    def __post_init__(self) -> None:
        self._next = self.first
        self._turn = self.script.after * len(self.samples_ms)

    @property
    def late(self) -> bool:
        """Whether the next sample lies beyond the script's `after`."""
        return self._next >= self._turn

    def now(self) -> float:
        """Seconds that the samples read so far took."""
        return self._elapsed_s

    def wait(self) -> None:
        """Nothing runs."""

    def prepare(self, enqueue_s: float) -> None:
        """Nothing is enqueued."""

    def read(self, call: Call, count: int) -> list[Reading]:
        """The next samples; calls nothing."""
        return [Reading(self._sample_ms()) for _ in range(count)]

    def _sample_ms(self) -> float:
        index, samples, script = self._next, self.samples_ms, self.script
        within = script.seed is None and index < len(samples)
        time_ms = samples[index] if within else self.random.choice(samples)
        time_ms *= 1 + script.drift * index / len(samples)
        time_ms *= script.slowdown if self.late else 1.0
        self._elapsed_s += time_ms * 1e-3
        self._next += 1
        return time_ms + (script.jump_ms if index < self._turn <= index + 1 else 0.0)


@dataclass(frozen=True, kw_only=True)
class ReplayTelemetry:
    """The state of the card as kept beside the samples that the clock reads, or as scripted."""

    clock: ReplayClock
    blocks: tuple[Mapping[str, Any], ...]

    def read(self) -> State | None:
        """The state at the clock's next sample."""
        script = self.clock.script
        if self.clock.late and script.silent:
            return None
        if self.clock.late and script.state:
            return _state(script.state, script.state.get("slowdowns", ()))
        begun = [block for block in self.blocks if block["first"] <= self.clock._next]
        told = {name: begun[-1].get(name) for name in ("sm_mhz", "power_w", "temperature_c")} if begun else {}
        if all(value is None for value in told.values()):
            return None
        return _state(told, [name for name in begun[-1].get("slowdown", "").split(", ") if name])


def _state(told: Mapping[str, Any], slowdowns: Any) -> State:
    known = {name: told.get(name) for name in ("sm_mhz", "power_w", "temperature_c")}
    return State(**known, slowdowns=frozenset(slowdowns))
