"""The interval of the median."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbench.statistics import LEAST, LEAST_NORMAL, known_interval, median, median_interval, share_interval

SAMPLES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=60)


@given(SAMPLES)
def test_the_interval_holds_the_median_and_is_made_of_samples(samples: list[float]) -> None:
    low, high = median_interval(samples)
    assert low <= median(samples) <= high
    assert low in samples
    assert high in samples


@given(SAMPLES)
def test_order_does_not_matter(samples: list[float]) -> None:
    assert median_interval(samples) == median_interval(samples[::-1])


@pytest.mark.parametrize("count", [6, 9, 10, 25, 100, 999, 1000, 1500])
def test_it_covers_the_true_median_as_often_as_it_says(count: int) -> None:
    generator = random.Random(count)
    trials = 400
    hits = 0
    for _ in range(trials):
        low, high = median_interval([generator.expovariate(1.0) for _ in range(count)])
        hits += low <= 0.6931471805599453 <= high
    # Three standard deviations of a binomial with p = 0.95.
    assert hits / trials > 0.95 - 3 * (0.95 * 0.05 / trials) ** 0.5


def test_five_samples_give_their_range() -> None:
    assert median_interval([5, 1, 4, 2, 3]) == (1, 5)


@given(SAMPLES)
def test_an_interval_is_known_from_three_samples_on(samples: list[float]) -> None:
    low, high = known_interval(samples)
    assert math.isnan(low) == math.isnan(high) == (len(samples) < LEAST_NORMAL)
    if len(samples) >= LEAST:
        assert (low, high) == median_interval(samples)
    elif len(samples) >= LEAST_NORMAL:
        assert 0 < low <= median(samples) <= high < math.inf


@pytest.mark.parametrize("count", [3, 4])
def test_the_interval_of_few_samples_covers_as_often_as_it_says(count: int) -> None:
    chance = random.Random(count)
    trials = 2000
    hits = 0
    for _ in range(trials):
        low, high = known_interval([math.exp(chance.gauss(0, 0.01)) for _ in range(count)])
        hits += low <= 1 <= high
    assert share_interval(hits, trials, 0.999)[1] >= 0.95


def test_it_grows_with_the_spread_and_not_with_the_unit() -> None:
    low, high = known_interval([100.0, 101.0, 102.0])
    assert known_interval([1.0, 1.01, 1.02]) == pytest.approx((low / 100, high / 100))
    wider = known_interval([98.0, 101.0, 104.0])
    assert wider[0] < low < 101 < high < wider[1]
