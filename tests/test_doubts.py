"""Doubts: each has advice, and is raised by what it names and by nothing else."""

from __future__ import annotations

import random
from typing import Any

import pytest

from lbench.doubts import Doubt, advice, of_samples

ROUNDS = [0, 20, 40, 60, 80]


def steady(seed: int = 0) -> list[float]:
    chance = random.Random(seed)
    return [chance.gauss(1.0, 0.003) for _ in range(100)]


def block(**fields: Any) -> dict[str, Any]:
    return {"first": 0, "count": 100, "sm_mhz": 1980, "power_w": 500.0, "slowdown": "", **fields}


def names(doubts: tuple[str, ...]) -> set[str]:
    return {doubt.partition(":")[0] for doubt in doubts}


@pytest.mark.parametrize("doubt", list(Doubt))
def test_every_doubt_has_advice(doubt: Doubt) -> None:
    assert len(doubt.advice) > 20
    assert doubt.told("why") == f"{doubt.value}: why"


@pytest.mark.parametrize("seed", range(20))
def test_steady_times_raise_none(seed: int) -> None:
    assert of_samples(steady(seed), ROUNDS, [block()], "events") == ()


def test_far_samples_are_outliers_and_one_alone_is_not() -> None:
    times_ms = steady()
    times_ms[50] = 3.0
    assert of_samples(times_ms, ROUNDS, [], "events") == ()
    for index in range(10, 20):
        times_ms[index] = 3.0
    assert names(of_samples(times_ms, ROUNDS, [], "events")) == {"outliers"}


def test_first_samples_of_rounds_that_are_slow() -> None:
    times_ms = steady()
    for index in ROUNDS:
        times_ms[index] = 1.5
    assert "first run slow" in names(of_samples(times_ms, ROUNDS, [], "events"))


@pytest.mark.parametrize(("slower", "told"), [(1.0, False), (1.03, True)])
def test_of_long_calls_that_nothing_warmed_up_less_is_slow(slower: float, told: bool) -> None:
    times_ms = [
        3000 * time_ms * (slower if index % 2 == 0 else 1.0) for index, time_ms in enumerate(steady())
    ]
    for count, rounds in ((4, [0, 2]), (2, [0])):
        assert not of_samples(times_ms[:count], rounds, [], "events")
        found = names(of_samples(times_ms[:count], rounds, [], "events", long=True))
        assert found == ({"first run slow"} if told else set())


def test_rounds_that_drift_apart_and_a_slowdown_halfway_of_one_round() -> None:
    times_ms = [time_ms * (1.2 if index >= 60 else 1.0) for index, time_ms in enumerate(steady())]
    assert names(of_samples(times_ms, ROUNDS, [], "events")) == {"clock drift"}
    assert "clock drift" in names(of_samples(times_ms, [], [], "events"))


def test_an_sm_clock_that_moves_is_told_with_its_ends() -> None:
    (doubt,) = of_samples(steady(), ROUNDS, [block(sm_mhz=1980), block(sm_mhz=1755)], "events")
    assert doubt == "clock drift: SM clock from 1980 to 1755 MHz"


def test_the_power_cap_is_a_doubt() -> None:
    (doubt,) = of_samples(steady(), ROUNDS, [block(), block(slowdown="power cap")], "events")
    assert doubt == "power cap: in 1 of 2 blocks"


@pytest.mark.parametrize(
    ("time_us", "timer", "short"),
    [
        (100, "events", True),
        (250, "events", False),
        (20, "graph", False),
        (5, "wall", True),
        (50, "wall", False),
    ],
)
def test_what_is_short_depends_on_the_timer(time_us: float, timer: str, short: bool) -> None:
    times_ms = [time_us * 1e-3 * time_ms for time_ms in steady()]
    assert ("too short" in names(of_samples(times_ms, ROUNDS, [], timer))) == short


def test_advice_names_the_most_frequent_doubt_first() -> None:
    told = advice([("power cap: in 1 of 2 blocks",), ("power cap", "outliers: 3")])
    assert told[0].startswith("power cap in 2 rows: ")
    assert told[1].startswith("outliers in 1 row: ")
