"""What is refused, and in what words; and importing without Triton."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from lightning_attention import lightning_attention
from recurrence import make_inputs

f32, f16, f64 = torch.float32, torch.float16, torch.float64


def zeros(*shape, dtype=f32):
    return lambda device: torch.zeros(*shape, dtype=dtype, device=device)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"q": zeros(4, 2, 16)}, r"q \[4, 2, 16\].*allowed are q and k \[B, T, H, D\]"),
        ({"k": zeros(1, 5, 2, 16)}, r"k \[1, 5, 2, 16\]"),
        ({"v": zeros(1, 4, 3, 16)}, r"v \[1, 4, 3, 16\].*\[B, T, H, E\]"),
        ({"q": zeros(1, 0, 2, 16), "k": zeros(1, 0, 2, 16), "v": zeros(1, 0, 2, 16)}, "sizes of at least 1"),
        ({"k": zeros(1, 4, 2, 16, dtype=f16)}, "one dtype for all three"),
        (
            {n: zeros(1, 4, 2, 16, dtype=f64) for n in "qkv"},
            "float64.*torch.bfloat16, torch.float16, torch.float32",
        ),
        ({n: zeros(1, 4, 2, 8) for n in "qk"}, "allowed is D from 16 to 256, not 8"),
        ({"v": zeros(1, 4, 2, 257)}, "allowed is E from 16 to 256, not 257"),
        ({"k": lambda _: torch.zeros(1, 4, 2, 16, device="meta")}, "one device for all three"),
        ({"q": lambda _: [1.0]}, "q is a list"),
        ({"slopes": zeros(3)}, r"slopes is \[3\].*allowed is \[2\] torch.float32"),
        ({"slopes": zeros(2, dtype=f64)}, "slopes is .*float64"),
        ({"slopes": lambda _: torch.zeros(2, device="meta")}, "slopes is .* on meta"),
        (
            {"slopes": lambda device: torch.tensor([0.1, -0.5], device=device)},
            "slopes has values from -0.5 to",
        ),
        ({"slopes": lambda device: torch.tensor([0.1, float("nan")], device=device)}, "slopes has values"),
        ({"slopes": lambda device: torch.tensor([0.1, float("inf")], device=device)}, "slopes has values"),
        ({"slopes": lambda device: torch.zeros(2, device=device, requires_grad=True)}, "slopes.detach"),
        ({"scale": lambda _: float("inf")}, "scale is inf"),
        ({"scale": lambda _: 1e-40}, "scale is 1e-40"),
        ({"scale": zeros(1)}, "allowed is a Python number"),
        (
            {"initial_state": zeros(1, 2, 16, 17)},
            r"initial_state is .*allowed is \[1, 2, 16, 16\] torch.float32",
        ),
        ({"initial_state": zeros(1, 2, 16, 16, dtype=f16)}, "initial_state is .*float16"),
        ({"cu_seqlens": zeros(2)}, "cu_seqlens is .*torch.int32 or torch.int64"),
        ({"cu_seqlens": zeros(1, dtype=torch.int32)}, r"cu_seqlens is \[1\]"),
        (
            {n: zeros(2, 4, 2, 16) for n in "qkv"} | {"cu_seqlens": zeros(2, dtype=torch.int32)},
            "B = 2; allowed is B = 1",
        ),
        (
            {"cu_seqlens": zeros(4, dtype=torch.int64), "initial_state": zeros(1, 2, 16, 16)},
            r"allowed is \[3, 2, 16, 16\]",
        ),
    ],
)
def test_refused(device, changes, message):
    arguments = {
        "q": zeros(1, 4, 2, 16),
        "k": zeros(1, 4, 2, 16),
        "v": zeros(1, 4, 2, 16),
        "slopes": zeros(2),
    }
    arguments |= changes
    with pytest.raises(ValueError, match=message):
        lightning_attention(**{name: make(device) for name, make in arguments.items()})


def test_slopes_are_read_again_after_they_change(device):
    x = make_inputs(device, f32, tokens=2)
    lightning_attention(*x.sequence)
    x.slopes.neg_()
    with pytest.raises(ValueError, match="slopes has values"):
        lightning_attention(*x.sequence)


def test_slopes_are_read_once(device, monkeypatch):
    x = make_inputs(device, f32, tokens=2)
    lightning_attention(*x.sequence)
    monkeypatch.setattr(torch.Tensor, "item", lambda self: pytest.fail("slopes were read again"))
    lightning_attention(*x.sequence)


@pytest.mark.skipif(torch.cuda.is_available(), reason="about the interpreter")
def test_bf16_is_refused_in_the_interpreter():
    x = make_inputs("cpu", torch.bfloat16, tokens=2)
    with pytest.raises(ValueError, match="gets bf16 products wrong"):
        lightning_attention(*x.sequence)


CALL = """
import torch
from lightning_attention import lightning_attention
try:
    lightning_attention(*(torch.zeros(1, 1, 1, 16) for _ in range(3)), torch.zeros(1))
except RuntimeError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("import sys; sys.modules['triton'] = None", "pip install triton"),
        ("", "needs an NVIDIA GPU (for tests without one, set the environment variable TRITON_INTERPRET=1"),
    ],
)
def test_imports_anywhere_and_says_what_is_missing_when_called(before, message):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", before + CALL], capture_output=True, text=True, env=environment, check=True
    )
    assert message in done.stdout
