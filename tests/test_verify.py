"""Wrong answers are found, right ones are not: what verify must see."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lbench import mechanisms, verify
from lbench.case import Case
from lbench.comparison import Error, errors_of
from lbench.mechanisms import draws
from lbench.mechanisms.spec import Part, shape

TOKENS = 320
NOT_FINITE = st.sampled_from([math.nan, math.inf, -math.inf])


def answered(mechanism: str, seq_len: int = TOKENS, **fields):
    """A case, its inputs, output gradient, and the eager form's answers."""
    given = {"batch": 2, "heads": 2, "head_dim": 16, "dtype": "bf16", "device": "cpu", "pass_name": "fwdbwd"}
    case = Case(backend="x", mechanism=mechanism, seq_len=seq_len, **(given | fields))
    loaded = mechanisms.load(mechanism)
    inputs = loaded.make_inputs(case, "cpu")
    gradient = None
    if case.pass_name in ("bwd", "fwdbwd"):
        gradient = draws.output_gradient(case, shape("bthe", case), "cpu", draws.dtype_of(case))
    eager = dataclasses.replace(case, backend=f"{mechanism}_eager")
    return case, inputs, gradient, verify.eager_outputs(eager, inputs, gradient, loaded)


@pytest.fixture(scope="module")
def lightning():
    return answered("lightning")


def judged(answer, **changed):
    case, inputs, gradient, outputs = answer
    return verify.verify(case, inputs, outputs | changed, gradient)


def test_the_eager_form_is_right(lightning):
    verification = judged(lightning)
    assert (verification.verdict, verification.reason) == ("ok", "")
    assert verification.coverage == "all"
    assert set(verification.errors) == {"o", "dq", "dk", "dv"} == set(verification.limits)
    assert all(0 < error.rms < 0.01 for error in verification.errors.values())
    assert all(error.block >= error.rms for error in verification.errors.values())


@pytest.mark.parametrize("name", ["o", "dq", "dk", "dv"])
def test_one_wrong_token_in_one_head_is_found(lightning, name):
    wrong = lightning[3][name].clone()
    wrong[1, 200, 1] *= 1.5
    verification = judged(lightning, **{name: wrong})
    assert verification.verdict == "wrong"
    assert verification.reason.startswith(f"{name}: worst block of 64 tokens")


def test_a_wrong_tail_block_is_found(lightning):
    wrong = lightning[3]["o"].clone()
    wrong[:, -5:] = 0
    assert judged(lightning, o=wrong).reason.startswith("o: ")


def test_swapped_gradients_are_found(lightning):
    _, _, _, outputs = lightning
    verification = judged(lightning, dk=outputs["dv"], dv=outputs["dk"])
    assert verification.verdict == "wrong"
    assert min(verification.errors["dk"].rms, verification.errors["dv"].rms) > 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_number_that_is_not_finite_is_found(lightning, value):
    wrong = lightning[3]["dv"].clone()
    wrong[1, 7, 0, 3] = value
    verification = judged(lightning, dv=wrong)
    assert verification.errors["dv"].rms == math.inf
    assert verification.reason.startswith("dv: ")


@pytest.fixture(scope="module")
def sampled():
    """Of so long a softmax a few blocks of tokens are compared."""
    answer = answered("softmax", 4160, batch=1, heads=1, dtype="fp32")
    found = judged(answer)
    assert "blocks of 64 tokens" in found.coverage
    return answer, found


@given(name=st.sampled_from(["o", "dq", "dk", "dv"]), token=st.integers(0, 4159), value=NOT_FINITE)
def test_a_number_that_is_not_finite_is_found_wherever_it_is(sampled, name, token, value):
    (case, inputs, gradient, outputs), found = sampled
    wrong = outputs[name].clone()
    wrong[0, token, 0, 5] = value
    verification = verify.verify(case, inputs, outputs | {name: wrong}, gradient, found.limits)
    assert verification.verdict == "wrong"
    assert verification.errors == found.errors | {name: Error(rms=math.inf, block=math.inf)}
    assert verification.reason.startswith(f"{name}: ")


def test_decay_off_by_one_percent_is_found():
    case, inputs, gradient, _ = answered("lightning", dtype="fp32")
    off = dataclasses.replace(inputs, constants={"slopes": inputs.constants["slopes"] * 1.01})
    outputs = verify.eager_outputs(
        dataclasses.replace(case, backend="lightning_eager"), off, gradient, mechanisms.load("lightning")
    )
    assert verify.verify(case, inputs, outputs, gradient).verdict == "wrong"


def test_decay_applied_one_step_late_is_found():
    """The inter-block term under-decayed by one step, in bf16."""
    case, inputs, gradient, _ = answered("lightning", pass_name="fwd", heads=4)
    tensors, slopes = inputs.tensors, inputs.constants["slopes"]
    scores = torch.einsum("bthd,bshd->bhts", tensors["q"].float(), tensors["k"].float())
    distance = torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)
    late = distance - (torch.arange(TOKENS)[:, None] // 64 > torch.arange(TOKENS) // 64).long()
    decay = torch.exp(-slopes[:, None, None] * late).where(distance >= 0, 0.0)
    o = torch.einsum("bhts,bshe->bthe", scores * decay, tensors["v"].float()).bfloat16()
    assert verify.verify(case, inputs, {"o": o}, gradient).verdict == "wrong"


def test_limits_that_are_given_take_the_place_of_the_eager_forms(lightning):
    case, inputs, gradient, outputs = lightning
    found = judged(lightning)
    shared = verify.verify(case, inputs, outputs, gradient, found.limits)
    assert shared == found
    tight = {
        name: Error(rms=limit.rms / 100, block=limit.block / 100) for name, limit in found.limits.items()
    }
    assert verify.verify(case, inputs, outputs, gradient, tight).verdict == "wrong"


def test_a_wrong_shape_is_told(lightning):
    verification = judged(lightning, o=lightning[3]["o"][:, 1:])
    assert verification.reason == "o has shape (2, 319, 2, 16), it must be (2, 320, 2, 16)"
    case, inputs, gradient, outputs = lightning
    missing = {name: tensor for name, tensor in outputs.items() if name != "dq"}
    assert verify.verify(case, inputs, missing, gradient).reason.startswith("dq has shape None")


def test_an_output_in_fp32_and_a_view_are_read_as_they_are(lightning):
    turned = lightning[3]["o"].float().transpose(1, 2).contiguous().transpose(1, 2)
    assert judged(lightning, o=turned).errors == judged(lightning).errors


def test_forward_alone_has_no_gradient_error():
    verification = judged(answered("gla", pass_name="fwd"))
    assert set(verification.errors) == {"o"}
    assert verification.verdict == "ok"


@pytest.mark.parametrize("mechanism", ["lightning", "mamba1", "mamba2", "softmax"])
def test_a_stale_decoding_step_is_found(mechanism):
    case, inputs, gradient, outputs = answered(mechanism, 40, pass_name="decode")
    assert verify.verify(case, inputs, outputs, gradient).verdict == "ok"
    for name in outputs:
        stale = inputs.tensors["state"] if name == "state" else outputs[name] * 0.9
        assert verify.verify(case, inputs, outputs | {name: stale}, gradient).reason.startswith(f"{name}: ")


def test_limits_do_not_touch_the_cache():
    case, inputs, _, _ = answered("softmax", 40, pass_name="decode")
    inputs.tensors["k_cache"][:, -1] = 0
    verify.limits_of(case, inputs, None)
    assert inputs.tensors["k_cache"][:, -1].abs().max() == 0


def test_errors_by_hand():
    """Two heads, three blocks of which the last takes the tail; one block off by half of itself."""
    truth = torch.ones(1, 200, 2, 4, dtype=torch.float64)
    output = truth.clone()
    output[0, 128:, 1] = 1.5
    parts = [Part("o", (slice(0, 1), slice(t, t + 50)), truth[:, t : t + 50]) for t in range(0, 200, 50)]
    error = errors_of({"o": output}, parts, {"o": "bthe"})["o"]
    assert error.block == pytest.approx(0.5)
    assert error.rms == pytest.approx(0.5 * math.sqrt(72 / 400))


def test_uncovered_blocks_count_nothing():
    truth = torch.ones(2, 64, 2, 4, dtype=torch.float64)
    output = torch.full((2, 640, 2, 4), torch.nan, dtype=torch.float64)
    output[:, 64:128] = 1.25
    parts = [Part("dk", (slice(0, 2), slice(64, 128)), truth)]
    assert errors_of({"dk": output}, parts, {"dk": "btgd"})["dk"].rms == pytest.approx(0.25)


def test_parameters_are_judged_by_head():
    truth = torch.ones(2, 4, 16, dtype=torch.float64)
    truth[1] = 100
    output = truth.clone()
    output[0] = 1.5
    error = errors_of({"dA": output}, [Part("dA", (), truth)], {"dA": "hen"})["dA"]
    assert error.rms < 0.01
    assert error.block == pytest.approx(0.5)


def test_a_zero_truth_is_measured_against_the_output():
    parts = [
        Part("o", (), torch.full((1, 1, 1, 4), 2.0, dtype=torch.float64)),
        Part("dg", (), torch.zeros(1, 1, 1, 4, dtype=torch.float64)),
    ]
    outputs = {"o": torch.full((1, 1, 1, 4), 2.0), "dg": torch.full((1, 1, 1, 4), 0.02)}
    errors = errors_of(outputs, parts, {"o": "bthe", "dg": "bthd"})
    assert errors["dg"].rms == pytest.approx(0.01)
    assert errors["dg"].block == pytest.approx(0.01)
