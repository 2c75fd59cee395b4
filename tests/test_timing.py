"""The timer, on a clock of its own: no real time is asserted."""

from __future__ import annotations

import itertools
import time
from types import SimpleNamespace

import pytest

from lbench.clock import CudaClock, Reading
from lbench.timing import Stopping, measure, sample


class FakeClock:
    """Gives out scripted times."""

    def __init__(self, times_ms):
        self.times_ms = times_ms

    def wait(self):
        pass

    def prepare(self, enqueue_s):
        pass

    def read(self, call, count):
        for _ in range(count):
            call()
        return [
            reading if isinstance(reading, Reading) else Reading(reading)
            for reading in itertools.islice(self.times_ms, count)
        ]


def test_steady_times_stop_at_the_least_number() -> None:
    stopping = Stopping(budget_s=1e9, warm_up_s=0)
    sampled = sample(lambda: None, FakeClock(itertools.repeat(2.0)), stopping)
    assert set(sampled.times_ms) == {2.0}
    # The call itself takes no time, so that samples come in batches of fifty.
    assert len(sampled.times_ms) == 50


def test_noisy_times_are_sampled_to_the_most() -> None:
    stopping = Stopping(budget_s=1e9, most=333, warm_up_s=0)
    sampled = sample(lambda: None, FakeClock(itertools.cycle([1.0, 2.0])), stopping)
    assert len(sampled.times_ms) == 333


def test_a_spent_budget_ends_it_with_the_least_number_kept() -> None:
    stopping = Stopping(budget_s=0.0, least=60, warm_up_s=0)
    sampled = sample(lambda: None, FakeClock(itertools.cycle([1.0, 2.0])), stopping)
    assert len(sampled.times_ms) == 100


def test_every_sample_is_kept_in_order() -> None:
    stopping = Stopping(budget_s=1e9, most=100, warm_up_s=0)
    sampled = sample(lambda: None, FakeClock(itertools.cycle([3.0, 1.0, 2.0])), stopping)
    # One warm-up call comes before the first sample.
    assert sampled.times_ms[:4] == (1.0, 2.0, 3.0, 1.0)


def test_samples_in_which_the_device_waited_are_discarded_and_counted() -> None:
    stopping = Stopping(budget_s=0, warm_up_s=0)
    readings = itertools.cycle([Reading(9.0, host_bound=True), Reading(1.0), Reading(1.0)])
    sampled = sample(lambda: None, FakeClock(readings), stopping)
    assert set(sampled.times_ms) == {1.0}
    assert sampled.host_bound == 50 - len(sampled.times_ms) > 0
    assert not sampled.doubts


def test_where_most_samples_waited_all_are_kept_and_doubted() -> None:
    stopping = Stopping(budget_s=0, warm_up_s=0)
    readings = itertools.cycle([Reading(9.0, host_bound=True), Reading(9.0, host_bound=True), Reading(1.0)])
    sampled = sample(lambda: None, FakeClock(readings), stopping)
    assert len(sampled.times_ms) == 50
    assert "host-bound" in sampled.doubts[0]


def test_a_call_known_to_be_slow_is_not_called_once_more() -> None:
    calls = []
    stopping = Stopping(budget_s=0, most=50)
    sampled = sample(lambda: calls.append(1), FakeClock(itertools.repeat(300.0)), stopping, call_s=0.3)
    assert len(calls) == len(sampled.times_ms) == len(sampled.enqueue_us) == stopping.slow_least


@pytest.mark.parametrize(("call_s", "samples"), [(0.01, 10), (1.0, 6), (6.0, 5)])
def test_slow_calls_need_fewer_samples(call_s: float, samples: int) -> None:
    assert Stopping().least_samples(call_s) == samples


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


@pytest.mark.parametrize(
    ("late", "host_s", "host_bound"), [(False, 0.0, 0), (True, 0.0, 0), (True, 0.003, 5)]
)
def test_a_device_that_waited_is_known_by_its_start_event(late: bool, host_s: float, host_bound: int) -> None:
    clock = CudaClock.__new__(CudaClock)
    clock._torch = SimpleNamespace(
        cuda=SimpleNamespace(Event=lambda enable_timing: FakeEvent(late), synchronize=lambda: None)
    )
    clock._buffer = SimpleNamespace(zero_=lambda: None)
    clock._overwrites = clock._lead = 1
    clock.prepare(0.001)
    # An overwrite takes 2 ms / 20: the host's 1 ms is covered twice.
    assert clock._overwrites == 21
    readings = clock.read(lambda: time.sleep(host_s), 5)
    assert [reading.time_ms for reading in readings] == [2.0] * 5
    assert sum(reading.host_bound for reading in readings) == host_bound
