"""A wrong first call is found, and so is a wrong later one; what repeats is verified once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interpreter import told_of_calls

from lbench import verify
from lbench.case import Case
from lbench.comparison import Error
from lbench.repeats import both
from lbench.verify import Verification
from lbench.worker import answer

FUNCTIONS = """
import itertools
from pathlib import Path
import torch
from torch.multiprocessing.reductions import StorageWeakRef

CALLS, BACKWARDS = itertools.count(), itertools.count()
MADE, ALIVE = [], Path(__file__).with_name("alive.txt")

def right(q, k, v, slopes):
    time = torch.arange(q.shape[1])
    lag = time[:, None] - time[None, :]
    mask = torch.where(lag >= 0, torch.exp(-slopes[:, None, None] * lag.clamp(min=0)), 0.0)
    return torch.einsum("bhts,bshe->bthe", torch.einsum("bthd,bshd->bhts", q, k) * mask, v)

class Gradient(torch.autograd.Function):
    '''The identity; its gradient is spoiled at the calls that `spoiled` says.'''
    @staticmethod
    def forward(context, x, spoiled):
        context.spoiled = spoiled
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        factor = torch.ones_like(gradient)
        factor[:, 3] += 0.5 * context.spoiled(next(BACKWARDS))
        return gradient * factor, None

def spoils(spoiled, q, k, v, slopes):
    if q.requires_grad:
        return right(Gradient.apply(q, spoiled), k, v, slopes)
    o = right(q, k, v, slopes)
    o[:, 3] *= 1 + 0.5 * spoiled(next(CALLS))
    return o

def first_wrong(q, k, v, slopes):
    return spoils(lambda call: call == 0, q, k, v, slopes)

def later_wrong(q, k, v, slopes):
    return spoils(lambda call: call >= 1, q, k, v, slopes)

def always_wrong(q, k, v, slopes):
    return spoils(lambda call: True, q, k, v, slopes)

def wrong_otherwise(q, k, v, slopes):
    return spoils(lambda call: 1 + call, q, k, v, slopes)

def first_of_another_shape(q, k, v, slopes):
    return right(q, k, v, slopes)[:, 1 if next(CALLS) == 0 else 0:]

def noisy(q, k, v, slopes):
    return right(q * (1 + 2e-7 * torch.rand_like(q)), k, v, slopes)

def watchful(q, k, v, slopes):
    with ALIVE.open("a") as told:
        told.write("".join(f"{not one.expired()} " for one in MADE))
    o = right(q, k, v, slopes)
    MADE.append(StorageWeakRef(o.untyped_storage()))
    return o
"""


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The outcome of `lbench verify` for one of the functions."""
    path = tmp_path / "functions.py"
    path.write_text(FUNCTIONS)

    def of(function: str, pass_name: str = "fwd", **request: Any) -> dict[str, Any]:
        case = Case(
            backend=f"{path}:{function}", mechanism="lightning", pass_name=pass_name, batch=1, seq_len=24,
            heads=2, head_dim=4, dtype="fp32", device="cpu",
        )  # fmt: skip
        return answer({"do": "verify", "case": case.as_dict(), "device": "cpu", **request})

    return of


@contextmanager
def counted() -> Iterator[list[str]]:
    """Every call of `verify.verify` within it, told by the interpreter itself."""
    seen: list[str] = []

    def tell(frame: FrameType) -> None:
        if frame.f_code is verify.verify.__code__:
            seen.append(frame.f_code.co_name)

    with told_of_calls(tell):
        yield seen


@pytest.mark.parametrize("pass_name", ["fwd", "bwd", "fwdbwd"])
@pytest.mark.parametrize(
    ("function", "told"),
    [("first_wrong", "in the first call: "), ("later_wrong", "in a later call: "), ("always_wrong", "")],
)
def test_a_call_that_is_wrong_is_found_and_named(ask, function: str, told: str, pass_name: str) -> None:
    tensor = "o" if pass_name == "fwd" else "dq"
    outcome = ask(function, pass_name)
    assert outcome["verdict"] == "wrong"
    assert outcome["reason"].startswith(f"{told}{tensor}: "), outcome["reason"]
    assert outcome["errors"][tensor]["block"] > 0.01 > outcome["limits"][tensor]["block"]
    assert outcome["deterministic"], "the second call and the third are the same"
    assert outcome["memory"]["outputs"] > 0
    assert "times_ms" not in outcome


@pytest.mark.parametrize("pass_name", ["fwd", "bwd", "fwdbwd"])
def test_what_repeats_bit_by_bit_is_verified_once(ask, pass_name: str) -> None:
    with counted() as verified:
        outcome = ask("right", pass_name)
    assert (outcome["verdict"], outcome["reason"], outcome["deterministic"]) == ("ok", "", True)
    assert len(verified) == 1


def test_what_is_right_but_does_not_repeat_is_verified_twice(ask) -> None:
    with counted() as verified:
        outcome = ask("noisy", "fwdbwd")
    assert (outcome["verdict"], outcome["reason"], outcome["deterministic"]) == ("ok", "", False)
    assert len(verified) == 2


def test_two_wrong_calls_are_told_by_the_worse(ask) -> None:
    first, later = ask("always_wrong")["errors"]["o"], ask("wrong_otherwise")
    assert later["reason"].startswith("o: ")
    assert not later["deterministic"]
    assert later["errors"]["o"]["block"] > 2 * first["block"], "the third call is three times as wrong"


def test_a_first_result_of_another_shape_is_wrong_in_words(ask) -> None:
    outcome = ask("first_of_another_shape")
    assert outcome["reason"] == "in the first call: o has shape (1, 23, 2, 4), it must be (1, 24, 2, 4)"
    assert outcome["errors"]["o"]["rms"] <= outcome["limits"]["o"]["rms"], "those of the later call"


@pytest.mark.parametrize("function", ["right", "noisy", "first_of_another_shape"])
def test_limits_that_were_given_hold_for_every_call(ask, function: str) -> None:
    given_limits = {"o": {"rms": 3e-6, "block": 4e-6}}
    outcome = ask(function, limits=given_limits)
    assert outcome["limits"] == given_limits
    tight = ask(function, limits={"o": {"rms": 1e-12, "block": 1e-12}})
    assert (tight["verdict"], tight["reason"][:3]) == (
        "wrong",
        "o: " if function != "first_of_another_shape" else "o h",
    )


def test_no_result_is_alive_while_the_next_one_is_made(ask, tmp_path: Path) -> None:
    assert ask("watchful")["verdict"] == "ok"
    alive = (tmp_path / "alive.txt").read_text().split()
    assert len(alive) >= 3
    assert set(alive) == {"False"}


def test_the_first_call_is_timed_and_verification_is_an_account_of_its_own(ask) -> None:
    outcome = ask("noisy")
    spent = outcome["spent"]
    assert outcome["first_call_s"] == pytest.approx(spent["compile"], abs=1e-6)
    assert outcome["verify_s"] == pytest.approx(spent["verify"], abs=1e-6)


ERRORS = st.builds(Error, rms=st.floats(0, 2), block=st.floats(0, 2) | st.just(float("inf")))
LIMITS = {name: Error(rms=1.0, block=1.0) for name in ("o", "dq")}


def verification(errors: dict[str, Error]) -> Verification:
    reason = verify.reason_of(errors, LIMITS)
    return Verification(
        errors=errors, limits=LIMITS, coverage="all", verdict="wrong" if reason else "ok", reason=reason
    )


@given(*[st.fixed_dictionaries({"o": ERRORS, "dq": ERRORS})] * 2)
def test_two_calls_are_right_if_both_are_and_as_wrong_as_the_worse(first, later) -> None:
    one, other = verification(first), verification(later)
    joined, turned = both(one, other), both(other, one)
    assert (joined.verdict == "ok") == (one.verdict == other.verdict == "ok")
    assert joined.errors == turned.errors
    assert both(one, one) == one
    for name in LIMITS:
        assert joined.errors[name].rms == max(first[name].rms, later[name].rms)
        assert joined.errors[name].block == max(first[name].block, later[name].block)
    bare = joined.reason.removeprefix("in the first call: ").removeprefix("in a later call: ")
    assert bare == verify.reason_of(joined.errors, LIMITS)
    assert (bare == joined.reason) == (one.verdict == other.verdict)
