"""The grammar of lengths, by its laws."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbench.errors import UsageError
from lbench.lengths import format_length, parse_length, parse_lengths

LENGTHS = st.integers(min_value=1, max_value=2**40)


@given(LENGTHS)
def test_format_then_parse_is_the_identity(length: int) -> None:
    assert parse_length(format_length(length)) == length


@given(st.integers(1, 2**20), st.integers(0, 12), st.integers(2, 5))
def test_geometric_range_multiplies_and_hits_its_ends(first: int, steps: int, factor: int) -> None:
    last = first * factor**steps
    if last > 2**40:
        return
    lengths = parse_lengths(f"{first}..{last}:x{factor}")
    assert (lengths[0], lengths[-1], len(lengths)) == (first, last, steps + 1)
    assert all(b == a * factor for a, b in itertools.pairwise(lengths))


@given(st.integers(1, 2**20), st.integers(0, 50), st.integers(1, 2**16))
def test_arithmetic_range_adds(first: int, steps: int, increment: int) -> None:
    lengths = parse_lengths(f"{first}..{first + steps * increment}:+{increment}")
    assert lengths == tuple(first + i * increment for i in range(steps + 1))


@given(st.lists(LENGTHS, min_size=1, max_size=8))
def test_a_list_is_sorted_and_each_length_stands_once(lengths: list[int]) -> None:
    assert parse_lengths(",".join(map(str, lengths))) == tuple(sorted(set(lengths)))


@given(st.text(alphabet="0123456789km.,:x+ ", max_size=20))
def test_any_text_gives_lengths_or_a_usage_error(text: str) -> None:
    try:
        lengths = parse_lengths(text)
    except UsageError:
        return
    assert lengths
    assert all(length >= 1 for length in lengths)


def test_a_doubling_range_is_the_default() -> None:
    assert parse_lengths("1k..256k") == tuple(1024 * 2**i for i in range(9))


def test_a_missed_end_names_the_nearest_ones() -> None:
    with pytest.raises(UsageError, match="64k and 128k"):
        parse_lengths("1k..100k")


@pytest.mark.parametrize(
    "text", ["256k..1k", "1q", "0", "", "1k,,2k", "1k:x2", "1k..8k:x1", "1k..8k:-1k", "1..1m:+1"]
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_lengths(text)
