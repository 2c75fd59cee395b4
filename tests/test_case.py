"""A case and its key."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbench.case import DECAYS, DEVICES, DTYPES, INPUTS, PASSES, Case
from lbench.errors import UsageError

CASES = st.builds(
    lambda kv_heads, groups, **fields: Case(
        backend="lightning_triton",
        mechanism="lightning",
        kv_heads=kv_heads,
        heads=kv_heads * groups,
        **fields,
    ),
    kv_heads=st.integers(1, 64),
    groups=st.integers(1, 8),
    pass_name=st.sampled_from(PASSES),
    batch=st.integers(1, 512),
    seq_len=st.integers(1, 2**20),
    head_dim=st.integers(1, 512),
    head_dim_v=st.integers(0, 512),
    dtype=st.sampled_from(DTYPES),
    device=st.sampled_from(DEVICES),
    decay=st.sampled_from(DECAYS),
    inputs=st.sampled_from(INPUTS),
    seed=st.integers(0, 99),
)


@given(CASES)
def test_the_key_names_the_case(case: Case) -> None:
    assert Case.from_key(case.key, "lightning") == case
    assert Case.from_dict(case.as_dict()) == case


@given(CASES, CASES)
def test_different_cases_have_different_keys(one: Case, other: Case) -> None:
    assert (one.key == other.key) == (one == other)


def test_a_field_at_its_default_is_not_in_the_key() -> None:
    case = Case(backend="b", mechanism="m")
    assert case.key == "b,fwd,b1,t1024,h16,d128,bf16,cuda"
    assert dataclasses.replace(case, seed=3).key == case.key + ",seed=3"


def test_a_users_function_keeps_its_mechanism_in_the_key() -> None:
    case = Case(backend="path/mine.py:mix", mechanism="lightning")
    assert Case.from_key(case.key) == case


@pytest.mark.parametrize(
    "fields", [{"pass_name": "fwdbw"}, {"dtype": "fp8"}, {"batch": 0}, {"heads": 6, "kv_heads": 4}]
)
def test_impossible_cases_are_refused(fields: dict) -> None:
    with pytest.raises(UsageError):
        Case(backend="b", mechanism="m", **fields)


def test_an_unknown_pass_is_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean fwdbwd"):
        Case(backend="b", mechanism="m", pass_name="fwdbw")
