"""Ratios paired by round: how often equal cases, and different ones, are told apart, by simulation."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbench.ratios import ALPHA, POWER, Noise, compared, noise_of, paired, percent, round_medians, unpaired
from lbench.statistics import normal_quantile, share_interval, t_quantile, t_shift

ROUNDS = 5
TIMES = st.lists(st.floats(0.01, 1e4), min_size=2, max_size=9)


def rounds_of(chance: random.Random, time_ms: float, drift: list[float], spread: float) -> list[float]:
    """Medians of rounds: all share the drift of their round, each has a noise of its own."""
    return [time_ms * one * math.exp(chance.gauss(0, spread)) for one in drift]


def trial(chance: random.Random, ratio: float, spread: float) -> tuple[list[float], list[float]]:
    drift = [math.exp(chance.gauss(0, 0.05)) for _ in range(ROUNDS)]
    return rounds_of(chance, ratio, drift, spread), rounds_of(chance, 1.0, drift, spread)


def test_equal_cases_are_told_apart_as_often_as_alpha_says() -> None:
    chance = random.Random(1)
    trials = 4000
    false = sum(paired(*trial(chance, 1.0, 0.003)).differs for _ in range(trials))
    low, high = share_interval(false, trials, 0.999)
    assert ALPHA == 0.004
    assert low <= ALPHA <= high
    with_floor = 0
    for _ in range(trials):
        noise = noise_of([trial(chance, 1.0, 0.003)])
        with_floor += paired(*trial(chance, 1.0, 0.003), noise).differs
    assert with_floor <= false


def test_the_printed_interval_holds_the_true_ratio_as_often_as_it_says() -> None:
    chance = random.Random(2)
    trials = 2000
    hits = 0
    for _ in range(trials):
        ratio = paired(*trial(chance, 1.1, 0.01))
        hits += ratio.low <= 1.1 <= ratio.high
    low, high = share_interval(hits, trials, 0.999)
    assert low <= 0.95 <= high


def test_a_difference_that_could_be_seen_is_found_as_often_as_the_power_says() -> None:
    chance = random.Random(3)
    error = math.sqrt(2) * 0.003 / math.sqrt(ROUNDS)
    could_see = math.expm1(t_shift(ALPHA, POWER, ROUNDS - 1) * error)
    trials = 2000
    found = sum(paired(*trial(chance, 1 + could_see, 0.003)).differs for _ in range(trials))
    low, high = share_interval(found, trials, 0.999)
    assert low <= POWER <= high
    told = sorted(paired(*trial(chance, 1.0, 0.003)).could_see for _ in range(1000))[500]
    assert told == pytest.approx(could_see, rel=0.15)


def test_drift_that_hits_both_alike_is_no_difference_and_hides_none() -> None:
    drift = [1.0, 1.1, 1.3, 1.6, 2.0]
    wobble = [1.0, 1.001, 0.999, 1.0005, 0.9995]
    same = [a * b for a, b in zip(drift, wobble, strict=True)]
    assert not paired(drift, same).differs
    assert paired([1.02 * time for time in drift], same).differs


def test_the_noise_floor_overrules_a_spread_that_is_small_by_luck() -> None:
    one, other = [1.01] * 5, [1.0, 1.0001, 0.9999, 1.0, 1.0]
    assert paired(one, other).differs
    loud = Noise(spread=0.02, rounds=50)
    judged = paired(one, other, loud)
    assert not judged.differs
    assert judged.could_see > 0.02
    assert str(judged).startswith("no difference seen (could see ")


def test_an_order_effect_of_the_twins_counts_as_noise() -> None:
    assert noise_of([([1.05] * 5, [1.0] * 5)]).spread == pytest.approx(math.log(1.05))
    assert noise_of([]) is None


@given(TIMES, TIMES)
def test_turning_a_pair_around_turns_its_ratio_around(one: list[float], other: list[float]) -> None:
    there, back = paired(one, other), paired(other, one)
    assert there.ratio == pytest.approx(1 / back.ratio)
    assert there.differs == back.differs
    assert there.low <= there.ratio <= there.high


def test_fewer_than_two_rounds_make_no_pair() -> None:
    assert paired([1.0], [1.0, 2.0]) is None
    samples = [1.0, 1.001, 0.999] * 4
    alone = compared((samples, ()), ([2 * time for time in samples], ()))
    assert alone.differs
    assert alone.ratio == pytest.approx(0.5)


@pytest.mark.parametrize("rounds", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_equal_cases_are_told_apart_no_oftener_with_few_samples(count: int, rounds: int) -> None:
    """Whatever their number, and however they are spread over rounds."""
    chance = random.Random(f"{count} {rounds}")
    starts = sorted({count * number // rounds for number in range(rounds)}) if rounds else []
    trials = 2000
    false = 0
    for _ in range(trials):
        pair = [([chance.gauss(1, 0.02) for _ in range(count)], starts) for _ in "ab"]
        false += compared(*pair).differs
    assert share_interval(false, trials, 0.999)[0] <= ALPHA


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=2), st.booleans())
def test_one_or_two_samples_crown_nobody_however_far_apart(samples: list[float], turns: bool) -> None:
    starts = [0, 1] if turns and len(samples) > 1 else []
    others = [100 * time_ms for time_ms in samples]
    for judged in (compared((samples, starts), (others, starts)), compared((samples, ()), ([1.0] * 9, ()))):
        assert not judged.differs
        assert not judged.is_known
        assert "too few samples" in str(judged)
        assert percent(judged.could_see) == "nothing: too few samples"


def test_three_samples_tell_what_lies_far_beyond_their_spread() -> None:
    quick, slow = [1912.0, 1903.0, 1917.0], [3726.0, 3736.0, 3724.0]
    judged = compared((quick, ()), (slow, ()))
    assert judged.differs
    assert judged.low < 0.513 < judged.high
    near = [1.01 * time_ms for time_ms in quick]
    assert not compared((quick, ()), (near, ())).differs


def test_cases_that_took_no_turns_differ_where_their_intervals_do_not_meet() -> None:
    assert unpaired((1.1, 1.09, 1.11), (1.0, 0.99, 1.01)).differs
    assert not unpaired((1.02, 1.0, 1.04), (1.0, 0.98, 1.02)).differs


def test_medians_of_rounds() -> None:
    assert round_medians([1.0, 2.0, 3.0, 10.0, 20.0], [0, 3]) == [2.0, 15.0]
    assert round_medians([1.0, 2.0, 3.0], []) == [2.0]


@pytest.mark.parametrize(("share", "text"), [(0.018, "1.8 %"), (0.0012, "0.12 %"), (0.25, "25 %")])
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text


# Tables of Student's t, and of Clopper and Pearson.
@pytest.mark.parametrize(
    ("probability", "freedom", "t"),
    [(0.975, 1, 12.706), (0.975, 4, 2.776), (0.995, 10, 3.169), (0.95, 30, 1.697)],
)
def test_quantiles_of_t(probability: float, freedom: int, t: float) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(t, abs=5e-4)


def test_t_becomes_normal() -> None:
    assert t_quantile(0.998, 10**6) == pytest.approx(normal_quantile(0.998), rel=1e-4)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"), [(0, 10, 0.0, 0.3085), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0)]
)
def test_intervals_of_shares(hits: int, trials: int, low: float, high: float) -> None:
    assert share_interval(hits, trials) == pytest.approx((low, high), abs=5e-5)
