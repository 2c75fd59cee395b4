"""The memory ledger by hand, and poison that shows what was left unwritten."""

from __future__ import annotations

import sys

import pytest
import torch

from lbench import mechanisms, workload
from lbench.case import PASSES, Case
from lbench.mechanisms import costs
from lbench.memory import take_ledger
from lbench.poison import poisoned
from lbench.worker import answer

KIB = 1024
FUNCTIONS = '''
"""Functions whose memory is known: 256 tokens x 2 heads x 32 dims in fp32 are 64 KiB a tensor."""
import torch

class KeepsTwo(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v):
        ctx.save_for_backward(q)
        ctx.kept = [torch.ones_like(v), torch.ones_like(v)]
        return v + 0 * torch.ones(16, *v.shape).sum(0)

    @staticmethod
    def backward(ctx, do):
        torch.ones(8, *do.shape)
        return do.clone(), do.clone(), do.clone()

def keeps_two(q, k, v):
    return KeepsTwo.apply(q, k, v)

def returns_what_the_memory_held(q, k, v):
    heads_first = (x.transpose(1, 2) for x in (q, k, v))
    o = torch.nn.functional.scaled_dot_product_attention(*heads_first, is_causal=True).transpose(1, 2)
    room = torch.empty(64 + o.numel())
    room[64:] = o.flatten()
    del room
    return torch.empty(64 + o.numel())[64:].view(o.shape)

def leaves_tokens_unwritten(q, k, v):
    heads_first = (x.transpose(1, 2) for x in (q, k, v))
    right = torch.nn.functional.scaled_dot_product_attention(*heads_first, is_causal=True).transpose(1, 2)
    o = torch.empty_like(right)
    o[:, :1000], o[:, 1001:] = right[:, :1000], right[:, 1001:]
    return o
'''


@pytest.fixture
def functions(tmp_path):
    path = tmp_path / "functions.py"
    path.write_text(FUNCTIONS)
    return path


def case_of(path, pass_name: str) -> Case:
    fields = {"heads": 2, "head_dim": 32, "seq_len": 256, "dtype": "fp32", "device": "cpu"}
    return Case(backend=f"{path}:keeps_two", mechanism="softmax", pass_name=pass_name, **fields)


def ledger_of(path, pass_name: str):
    work = workload.build(case_of(path, pass_name), "cpu")
    work.call()
    result, ledger = take_ledger(work, "cpu")
    return work, result, {name: size / KIB for name, size in ledger.items()}


def test_a_forward_by_hand(functions) -> None:
    _, _, ledger = ledger_of(functions, "fwd")
    assert ledger["inputs"] == 3 * 64
    assert (ledger["outputs"], ledger["gradients"]) == (64, 0)
    assert ledger["workspace"] == pytest.approx(18 * 64, abs=64), "16 times the output and its sum, twice"
    assert ledger["peak"] == ledger["workspace"] + 64


def test_what_is_kept_beside_autograds_own_list_counts_and_inputs_do_not(functions) -> None:
    for pass_name in ("bwd", "fwdbwd"):
        _, _, ledger = ledger_of(functions, pass_name)
        assert ledger["inputs"] == 4 * 64, "with the output's gradient"
        assert ledger["saved"] == pytest.approx(2 * 64, abs=1)
        assert (ledger["outputs"], ledger["gradients"]) == (64, 3 * 64)


def test_the_workspace_of_a_backward_is_its_own(functions) -> None:
    _, _, ledger = ledger_of(functions, "bwd")
    assert ledger["workspace"] == pytest.approx((8 - 3) * 64, abs=1), "its eight go before its three are made"
    _, _, both = ledger_of(functions, "fwdbwd")
    assert both["peak"] > ledger["peak"], "the forward's peak is the higher one"


@pytest.mark.parametrize("pass_name", ["fwd", "bwd", "fwdbwd"])
def test_the_verification_of_the_first_call_leaves_nothing_in_the_ledger(functions, pass_name: str) -> None:
    case = case_of(functions, pass_name)
    verified = answer({"do": "verify", "case": case.as_dict(), "device": "cpu"})["memory"]
    _, _, bare = ledger_of(functions, pass_name)
    assert {name: size / KIB for name, size in verified.items()} == bare


def test_the_ledgers_call_returns_what_the_call_does(functions) -> None:
    work, result, _ = ledger_of(functions, "fwdbwd")
    for one, other in zip(work.outputs(result).values(), work.outputs(work.call()).values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("pass_name", PASSES)
@pytest.mark.parametrize("mechanism", mechanisms.names())
def test_the_least_memory_is_that_of_the_tensors_themselves(mechanism: str, pass_name: str) -> None:
    case = Case(
        backend=f"{mechanism}_eager", mechanism=mechanism, pass_name=pass_name, seq_len=64, heads=2,
        head_dim=16, head_dim_v=32, dtype="bf16", device="cpu",
    )  # fmt: skip
    work = workload.build(case, "cpu")
    outputs = work.outputs(work.call())
    made = [name for name in outputs if name != "state" and (name != "o" or pass_name != "bwd")]
    held = [*work.inputs.tensors.values(), *(outputs[name] for name in made)]
    if work.output_gradient is not None:
        held.append(work.output_gradient)
    expected = sum(tensor.numel() * tensor.element_size() for tensor in held)
    least = costs.least_memory_bytes(case, mechanisms.load(mechanism))
    assert least == pytest.approx(expected, rel=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's M_PERTURB")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_fresh_memory_is_poisoned_and_only_within(dtype) -> None:
    sizes = (100, 10_000, 5_000_000)
    with poisoned("cpu"):
        made = [torch.empty(size, dtype=dtype) for size in sizes]
    for tensor in made:
        assert tensor.isnan().all()
    del made, tensor
    assert all((torch.zeros(size) == 0).all() for size in sizes)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's M_PERTURB")
@pytest.mark.parametrize(
    ("function", "length"), [("returns_what_the_memory_held", 64), ("leaves_tokens_unwritten", 4160)]
)
def test_a_result_that_is_right_by_what_memory_held_is_wrong(cli, functions, function, length) -> None:
    """Without the poison the first often passes; the second lies where a long reference does not look."""
    code, out, _ = cli(
        *("verify", "--backend", f"{functions}:{function}", "--mechanism", "softmax"),
        *f"--seq {length} --heads 1 --pass fwd --head-dim 16 --dtype fp32 --device cpu".split(),
        "--in-process",
    )
    assert code == 1, out
