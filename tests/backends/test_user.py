"""A function of one's own: found without running its file, called by name, refused in words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from lbench import backends, workload
from lbench.backends.spec import Unsupported
from lbench.case import Case
from lbench.errors import UsageError
from lbench.verify import verify

MINE = """
from functools import partial
import torch
from beside import FACTOR

def attention(q, k, v, slopes):
    distance = torch.arange(q.shape[1]).unsqueeze(1) - torch.arange(q.shape[1])
    decay = (-slopes[:, None, None] * distance).exp().tril()
    return FACTOR * torch.einsum("bthd,bshd,hts,bshe->bthe", q, k, decay, v)

def without_slopes(q, k, v):
    return attention(q, k, v, torch.zeros(q.shape[2]))

def anything(**tensors):
    return attention(**tensors)

def other_names(query, key, value):
    return query

def one_more(q, k, v, slopes, window):
    return q

def raises(q, k, v):
    raise RuntimeError("mine is broken")

def wrong_shape(q, k, v):
    return v[:, 1:]

if torch.__version__:
    def conditional(q, k, v): return without_slopes(q, k, v)

assigned = partial(attention)
number = 3
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("FACTOR = 1.0\n")
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def build(
    path: Path, function: str, mechanism: str = "lightning", pass_name: str = "fwdbwd"
) -> workload.Workload:
    case = Case(
        backend=f"{path}:{function}",
        mechanism=mechanism,
        pass_name=pass_name,
        batch=2,
        seq_len=9,
        heads=2,
        head_dim=4,
        dtype="fp32",
        device="cpu",
    )
    return workload.build(case, "cpu")


@pytest.mark.parametrize("function", ["attention", "anything", "assigned"])
def test_is_called_with_tensors_and_constants_by_name(mine: Path, function: str) -> None:
    work = build(mine, function)
    got = work.outputs(work.call())
    truth = list(work.mechanism.reference(work.case, work.inputs, work.output_gradient))
    assert {part.name for part in truth} == {"o", "dq", "dk", "dv"}
    for part in truth:
        torch.testing.assert_close(
            got[part.name][part.index].double(), part.values.double(), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("function", ["without_slopes", "conditional"])
def test_may_leave_constants_out(mine: Path, function: str) -> None:
    assert build(mine, function).call()[0][0].shape == (2, 9, 2, 4)


def test_takes_any_dtype_and_device(mine: Path) -> None:
    backend = backends.load(f"{mine}:attention", "lightning")
    for dtype in ("bf16", "fp16", "fp32"):
        for device in ("cpu", "cuda"):
            case = Case(backend=backend.name, mechanism="lightning", dtype=dtype, device=device)
            assert backend.limits.unmet(case, (8, 0)) is None
    assert backend.title == "mine.py:attention"


def test_decodes_if_it_takes_the_state(mine: Path, tmp_path: Path) -> None:
    case = Case(
        backend=f"{mine}:attention",
        mechanism="lightning",
        pass_name="decode",
        heads=1,
        head_dim=4,
        device="cpu",
    )
    with pytest.raises(Unsupported, match=r"pass decode: .*state"):
        workload.build(case, "cpu")
    path = tmp_path / "step.py"
    path.write_text("def step(q, k, v, slopes, state):\n    return q, state\n")
    work = workload.build(dataclasses.replace(case, backend=f"{path}:step"), "cpu")
    assert set(work.outputs(work.call())) == {"o", "state"}


def test_loading_does_not_run_the_file(tmp_path: Path) -> None:
    path = tmp_path / "explosive.py"
    path.write_text("raise SystemExit('run too early')\ndef f(q, k, v): return q\n")
    assert backends.load(f"{path}:f", "linear").mechanism == "linear"


@pytest.mark.parametrize("function", ["other_names", "one_more"])
def test_names_that_do_not_fit_are_told(mine: Path, function: str) -> None:
    with pytest.raises(TypeError, match=rf"{function} takes .*; lightning calls it with q, k, v, slopes"):
        build(mine, function)


def test_something_that_is_no_function(mine: Path) -> None:
    with pytest.raises(TypeError, match="number is a int, not a function"):
        build(mine, "number")


def test_what_it_raises_comes_through(mine: Path) -> None:
    with pytest.raises(RuntimeError, match="mine is broken"):
        build(mine, "raises").call()


def test_a_wrong_shape_is_told(mine: Path) -> None:
    work = build(mine, "wrong_shape", pass_name="fwd")
    verification = verify(work.case, work.inputs, work.outputs(work.call()), None)
    assert verification.verdict == "wrong"
    assert verification.reason == "o has shape (2, 8, 2, 4), it must be (2, 9, 2, 4)"


@pytest.mark.parametrize(
    ("name", "mechanism", "told"),
    [
        ("mine.py:attention", "", r"needs --mechanism.*lightning"),
        ("mine.py:attention", "lightnin", "did you mean lightning"),
        ("mine.py:atention", "lightning", "did you mean attention"),
        ("mien.py:attention", "lightning", "did you mean mine.py"),
        ("nowhere/mine.py:attention", "lightning", "does not exist"),
        ("broken.py:f", "lightning", "line 1"),
        ("empty.py:f", "lightning", "defines no function"),
        ("mine.txt:attention", "lightning", r"path/to/file.py:function"),
        ("mine.py:not a name", "lightning", r"path/to/file.py:function"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_runs(
    mine: Path, name: str, mechanism: str, told: str
) -> None:
    (mine.parent / "broken.py").write_text("def f(q k v):\n")
    (mine.parent / "empty.py").touch()
    with pytest.raises(UsageError, match=told):
        backends.load(str(mine.parent / name), mechanism)


def test_a_file_named_like_a_package_is_no_danger(tmp_path: Path) -> None:
    path = tmp_path / "torch.py"
    path.write_text("import torch\ndef f(q, k, v):\n    return torch.zeros_like(v)\n")
    assert not build(path, "f", "linear", "fwd").call()[0][0].any()
