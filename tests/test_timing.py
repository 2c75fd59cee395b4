"""The timer, on a clock of its own: no real time is asserted."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import time
from collections.abc import Iterable, Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbench import timing
from lbench.clock import CpuClock, CudaClock, Reading
from lbench.protocol import Stopping
from lbench.statistics import median_interval, share_interval
from lbench.telemetry import HARDWARE, POWER_CAP, THERMAL, State
from lbench.timing import Sample, measure, take


class ScriptedClock:
    """Gives out scripted times; its own time passes by them."""

    between_s = 0.0

    def __init__(self, times_ms):
        self.times_ms = iter(times_ms)
        self.elapsed_s = 0.0

    def wait(self):
        pass

    def prepare(self, enqueue_s):
        pass

    def now(self):
        return self.elapsed_s

    def read(self, call, count):
        readings = []
        for scripted in itertools.islice(self.times_ms, count):
            call()
            reading = scripted if isinstance(scripted, Reading) else Reading(scripted)
            self.elapsed_s += reading.time_ms * 1e-3
            readings.append(reading)
        return readings


class ScriptedTelemetry:
    """Gives out scripted states, the last one for ever."""

    def __init__(self, states: Iterable[State | None]):
        self.states = list(states)
        self.asked = 0

    def read(self):
        self.asked += 1
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


def taken(times_ms, stopping: Stopping, states: Iterable[State | None] = (None,), **named) -> Sample:
    clock = ScriptedClock(times_ms)
    return take(
        lambda: None,
        clock,
        stopping,
        telemetry=ScriptedTelemetry(states),
        now=clock.now,
        **{"sample_s": 0.05, **named},
    )


def test_steady_times_stop_at_the_least_number() -> None:
    assert taken(itertools.repeat(2.0), Stopping(budget_s=1e9)).times_ms == (2.0,) * 10


def test_noisy_times_are_sampled_to_the_most() -> None:
    assert len(taken(itertools.cycle([1.0, 2.0]), Stopping(budget_s=1e9, most=333)).times_ms) == 333


def test_a_spent_budget_ends_it_with_the_least_number_kept() -> None:
    assert len(taken(itertools.cycle([1.0, 2.0]), Stopping(budget_s=0.0, least=60)).times_ms) == 60
    # Samples of 1 and 2 ms: 0.3 s are over after two hundred.
    assert len(taken(itertools.cycle([1.0, 2.0]), Stopping(budget_s=0.3)).times_ms) in (200, 201)
    # A batch is no longer than the budget.
    assert (
        len(taken(itertools.cycle([1.0, 2.0]), Stopping(budget_s=0.004, least=2), sample_s=1e-3).times_ms)
        == 4
    )


def test_it_stops_when_the_interval_of_the_median_is_within_the_target() -> None:
    tight = itertools.cycle([1.0, 1.004])
    assert len(taken(tight, Stopping(budget_s=1e9, target=0.005)).times_ms) == 10
    wide = itertools.cycle([1.0, 1.02])
    assert len(taken(wide, Stopping(budget_s=1e9, target=0.005, most=200)).times_ms) == 200


def test_samples_of_earlier_rounds_count_towards_the_interval() -> None:
    stopping = Stopping(budget_s=1e9, least=2)
    assert len(taken(itertools.repeat(1.0), stopping, seen=(1.0,) * 20).times_ms) == 2
    assert len(taken(itertools.repeat(1.0), stopping, seen=(1.0, 3.0) * 20).times_ms) > 10


def test_to_look_often_costs_no_coverage() -> None:
    """A clock with two modes, as a card with two states: sampling must not end since one came first."""
    chance = random.Random(7)
    stopping = Stopping()

    def times_ms() -> Iterator[float]:
        while True:
            yield 20 * (chance.choice((1.0, 1.03)) + chance.gauss(0, 0.0005))

    trials, hits = 400, 0
    for _ in range(trials):
        seen: tuple[float, ...] = ()
        for number in range(stopping.rounds):
            part = stopping.share(len(seen), sum(seen) * 1e-3, number, 0.02)
            seen += taken(times_ms(), part, sample_s=0.02, seen=seen).times_ms
        low, high = median_interval(seen)
        hits += low <= 20 * 1.015 <= high
    assert share_interval(hits, trials, 0.99)[1] >= 0.95


def test_every_sample_is_kept_in_order() -> None:
    times_ms = [3.0, 1.0, 2.0, 4.0] * 25
    assert taken(times_ms, Stopping(budget_s=1e9, most=100)).times_ms == tuple(times_ms)


def test_samples_in_which_the_device_waited_are_discarded_and_counted() -> None:
    readings = itertools.cycle([Reading(9.0, host_bound=True), Reading(1.0), Reading(1.0)])
    sampled = taken(readings, Stopping(budget_s=0))
    assert set(sampled.times_ms) == {1.0}
    assert sampled.discarded == {"host-bound": 5}
    assert len(sampled.times_ms) == 10
    assert not sampled.doubts


def test_where_most_samples_waited_all_are_kept_and_doubted() -> None:
    readings = itertools.cycle([Reading(9.0, host_bound=True), Reading(9.0, host_bound=True), Reading(1.0)])
    sampled = taken(readings, Stopping(budget_s=0, least=50))
    assert len(sampled.times_ms) == 50
    assert not sampled.discarded
    assert sampled.doubts == ("host-bound: in most samples",)


@given(st.lists(st.sampled_from([-1e6, 0.0, 1.0, math.nan]), min_size=1, max_size=40), st.booleans())
def test_a_reading_that_is_no_positive_time_never_counts(times_ms: list[float], waited: bool) -> None:
    readings = [Reading(time_ms, host_bound=waited) for time_ms in times_ms]
    count = len(times_ms)
    stopping = Stopping(budget_s=0, least=count, most=count)
    if 1.0 not in times_ms:
        with pytest.raises(timing.NoTime, match=f"none of {count} readings"):
            taken(readings, stopping)
        return
    sampled = taken(readings, stopping)
    assert set(sampled.times_ms) == {1.0}
    assert sampled.discarded.get("clock jump", 0) == count - times_ms.count(1.0)
    assert sampled.calls() == count
    assert sum(block["count"] for block in sampled.blocks) == len(sampled.times_ms)


def test_blocks_are_of_100_ms_or_more_and_cover_every_sample() -> None:
    state = State(sm_mhz=1980, power_w=600.5, temperature_c=60)
    sampled = taken(itertools.repeat(30.0), Stopping(budget_s=1e9, least=15, most=15), [state])
    assert [block["count"] for block in sampled.blocks] == [4, 4, 7]
    assert [block["first"] for block in sampled.blocks] == [0, 4, 8]
    assert sampled.blocks[0] == {
        "first": 0,
        "count": 4,
        "sm_mhz": 1980,
        "power_w": 600.5,
        "temperature_c": 60,
        "slowdown": "",
    }


@pytest.mark.parametrize("reason", [THERMAL, HARDWARE])
def test_samples_under_a_slowdown_are_discarded_and_counted(reason: str) -> None:
    cool, hot = State(sm_mhz=1980), State(sm_mhz=900, slowdowns=frozenset({reason}))
    # The card is asked before the first block and at the end of each: the third one ends hot.
    times_ms = itertools.chain([60.0] * 4, [90.0] * 2, itertools.repeat(60.0))
    sampled = taken(times_ms, Stopping(budget_s=0, least=10), [cool, cool, cool, hot, cool])
    assert set(sampled.times_ms) == {60.0}
    # Both samples of the hot block, and of the one that began hot.
    assert sampled.discarded == {"thermal slowdown": 4}
    assert [block["count"] for block in sampled.blocks][:5] == [2, 2, 0, 0, 2]
    assert [block["slowdown"] for block in sampled.blocks][:5] == ["", "", reason, reason, ""]
    assert len(sampled.times_ms) >= 10


def test_a_card_that_is_hot_throughout_is_doubted_and_does_not_hold_the_sweep() -> None:
    hot = State(slowdowns=frozenset({THERMAL}))
    sampled = taken(itertools.repeat(50.0), Stopping(budget_s=0.1), [hot])
    assert len(sampled.times_ms) == 10
    assert sampled.doubts == ("thermal slowdown: in most samples",)


def test_the_power_cap_discards_nothing() -> None:
    capped = State(slowdowns=frozenset({POWER_CAP}))
    sampled = taken(itertools.repeat(50.0), Stopping(budget_s=0.1), [capped])
    assert not sampled.discarded
    assert {block["slowdown"] for block in sampled.blocks} == {POWER_CAP}


def test_a_card_that_falls_silent_takes_nothing_with_it() -> None:
    sampled = taken(itertools.repeat(50.0), Stopping(budget_s=0.1), [State(sm_mhz=1980), None])
    assert len(sampled.times_ms) == 10
    assert {block["sm_mhz"] for block in sampled.blocks} == {None}


def test_the_card_is_never_asked_between_a_call_and_its_end() -> None:
    telemetry = ScriptedTelemetry([State()])
    clock = ScriptedClock(itertools.repeat(30.0))
    asked_during: set[int] = set()

    class Watched(ScriptedClock):
        def read(self, call, count):
            before = telemetry.asked
            readings = clock.read(call, count)
            asked_during.add(telemetry.asked - before)
            return readings

    take(lambda: None, Watched([]), Stopping(budget_s=0), sample_s=0.05, telemetry=telemetry, now=clock.now)
    assert asked_during == {0}


def test_a_slow_call_is_called_once_to_time_the_host() -> None:
    calls = []
    call_s, enqueue_us = timing.host_times(
        lambda: (calls.append(1), time.sleep(0.002)), ScriptedClock([]), slow_s=0.001
    )
    assert len(calls) == len(enqueue_us) == 1
    assert call_s >= 0.002
    assert len(timing.host_times(lambda: None, ScriptedClock([]), slow_s=1e9)[1]) == 5


@pytest.mark.parametrize(("call_s", "samples", "rounds"), [(0.01, 10, 5), (1.0, 6, 3), (6.0, 5, 2)])
def test_slow_calls_need_fewer_samples_and_rounds(call_s: float, samples: int, rounds: int) -> None:
    assert Stopping().least_samples(call_s) == samples
    assert Stopping().rounds_of(call_s) == rounds


@pytest.mark.parametrize("call_s", [1e-5, 0.01, 1.0, 6.0])
def test_the_rounds_share_samples_and_budget(call_s: float) -> None:
    stopping = Stopping(budget_s=1.0)
    seen, spent_s = 0, 0.0
    for number in range(stopping.rounds_of(call_s)):
        part = stopping.share(seen, spent_s, number, call_s)
        seen, spent_s = seen + part.least, spent_s + part.budget_s
    assert seen == stopping.least_samples(call_s)
    assert spent_s == pytest.approx(1.0)
    # A round that took more leaves the later ones less.
    assert stopping.share(0, 0.9, 1, 0.01).budget_s < stopping.share(0, 0.1, 1, 0.01).budget_s


def test_a_very_slow_call_is_not_warmed_up() -> None:
    assert [Stopping().warm_up_calls(call_s) for call_s in (1e-5, 0.01, 1.0, 6.0)] == [100, 5, 1, 0]
    clock = ScriptedClock(itertools.repeat(9.0))
    timing.warm_up(lambda: None, clock, Stopping(), 6.0, clock.now)
    assert clock.elapsed_s == 0
    # Making caches cold takes its time as well: the warm-up is over all the same.
    timing.warm_up(lambda: None, clock, Stopping(warm_up_s=0.05), 1e-3, clock.now)
    assert clock.elapsed_s < 0.15


def test_the_time_that_cold_caches_take_counts_towards_warm_up_and_batches() -> None:
    asked = []

    class Overwriting(ScriptedClock):
        between_s = 0.01

        def read(self, call, count):
            asked.append(count)
            return super().read(call, count)

    timing.sample(lambda: None, Overwriting(itertools.repeat(0.001)), Stopping(budget_s=0.0, warm_up_s=0.05))
    # Five calls of warm-up, then batches of five at most until there are ten; by the calls alone, of fifty.
    assert max(asked) <= 5
    assert sum(asked) <= 20
    clock = CpuClock()
    clock.prepare(0.0)
    assert clock.between_s > 0


def test_measure_times_any_function() -> None:
    result = measure(sorted, [3, 1, 2], budget_s=0.01)
    low, high = result.interval_ms
    assert 0 < low <= result.time_ms <= high
    assert "samples" in str(result)


class FakeEvent:
    """An event of a device on which every call takes 2 ms; it has passed where the host is late."""

    def __init__(self, late):
        self.late = late

    def record(self):
        pass

    def query(self):
        return self.late

    def elapsed_time(self, _):
        return 2.0


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize(
    ("late", "host_s", "host_bound"), [(False, 0.0, 0), (True, 0.0, 0), (True, 0.003, 5)]
)
def test_a_device_that_waited_is_known_by_its_start_event(
    late: bool, host_s: float, host_bound: int, cold: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = []
    host = SimpleNamespace(now=0.0)
    monkeypatch.setattr("lbench.clock.time", SimpleNamespace(perf_counter=lambda: host.now))
    clock = CudaClock.__new__(CudaClock)
    clock._torch = SimpleNamespace(
        cuda=SimpleNamespace(
            Event=lambda enable_timing: FakeEvent(late), synchronize=lambda: None, _sleep=lambda cycles: None
        )
    )
    clock._cold = cold
    clock._buffer = SimpleNamespace(zero_=lambda: filled.append(1))
    clock._overwrites = clock._lead = 1
    clock.prepare(0.001)
    # An overwrite takes 2 ms / 20: the host's 1 ms is covered twice.
    assert clock._overwrites == 21
    readings = clock.read(lambda: setattr(host, "now", host.now + host_s), 5)
    assert [reading.time_ms for reading in readings] == [2.0] * 5
    assert sum(reading.host_bound for reading in readings) == host_bound
    assert bool(filled) == cold


@pytest.mark.parametrize("device", ["cuda:1", "cpu"])
def test_a_function_is_measured_with_its_gpu_as_the_current_one(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events of another card's stream say nothing of what this one does."""
    current = ["cuda:0"]

    @contextlib.contextmanager
    def entered(name: str):
        current.append(name)
        yield
        current.pop()

    monkeypatch.setattr("torch.cuda.device", entered)
    monkeypatch.setattr("lbench.timing.clock_of", lambda _: CpuClock())
    seen = set()
    measure(lambda _: seen.add(current[-1]), SimpleNamespace(device=device), budget_s=0.01)
    assert seen == {"cuda:1" if device == "cuda:1" else "cuda:0"}
    assert current == ["cuda:0"]
