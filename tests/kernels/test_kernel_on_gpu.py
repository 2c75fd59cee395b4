"""What only a GPU can show: long lengths in bf16, tensors past 2^31 elements, real variants, equal bits."""

from __future__ import annotations

import gc

import pytest
import torch
from lightning_attention import lightning_attention, lightning_attention_step
from recurrence import LIMITS, Inputs, blockwise, gradients, make_inputs, relative_rms

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def returned_memory():
    yield
    gc.collect()
    torch.cuda.empty_cache()


def alibi(heads, device):
    return torch.tensor([2.0 ** (-8 * (i + 1) / heads) for i in range(heads)], device=device)


def check_against_blocks(x: Inputs, slopes, dtype, *, with_state=True):
    """Output, final state and every gradient within the limits, over all and in the last 64 tokens."""
    state = x.initial_state if with_state else None
    inputs = x.differentiable if with_state else x.differentiable[:3]
    outputs = lightning_attention(x.q, x.k, x.v, slopes, initial_state=state, output_final_state=True)
    upstream = [torch.randn(y.shape, device=y.device) for y in outputs]
    found = gradients(outputs, inputs, upstream)
    expected = blockwise(x.q, x.k, x.v, slopes, initial_state=state)
    upstream = [g.to(y.dtype) for g, y in zip(upstream, outputs, strict=True)]
    wanted = gradients(expected, inputs, upstream)
    limit_out, limit_grad = LIMITS[dtype]
    assert relative_rms(outputs[0], expected[0]) < limit_out
    assert relative_rms(outputs[1], expected[1]) < limit_out
    assert relative_rms(outputs[0][:, -64:], expected[0][:, -64:]) < limit_out
    for a, b in zip(found, wanted, strict=True):
        assert relative_rms(a, b) < limit_grad
    for a, b in zip(found[:3], wanted[:3], strict=True):
        assert relative_rms(a[:, :64], b[:, :64]) < limit_grad
        assert relative_rms(a[:, -64:], b[:, -64:]) < limit_grad


@pytest.mark.parametrize("decay", ["alibi", "zero", "deep"])
@pytest.mark.parametrize("tokens", [4096, 65536])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_long_sequences(device, dtype, tokens, decay):
    x = make_inputs(device, dtype, tokens=tokens, heads=4, dim=128, dim_out=128)
    slopes = alibi(4, device) * {"alibi": 1.0, "zero": 0.0, "deep": 1e-5}[decay]
    check_against_blocks(x, slopes, dtype, with_state=decay == "alibi")


DIMS = [(64, 64), (128, 256), (256, 128), (256, 256), (96, 80)]
NARROW = [(16, 16), (32, 32), (64, 16), (128, 32), (256, 32), (256, 16)]  # products of 16 and 32 columns


@pytest.mark.parametrize(
    ("dtype", "dims"),
    [(torch.bfloat16, dims) for dims in DIMS + NARROW]
    + [(torch.float32, dims) for dims in DIMS + NARROW[::2]],
)
def test_other_dims(device, dtype, dims):
    x = make_inputs(device, dtype, batch=2, tokens=3000, heads=3, dim=dims[0], dim_out=dims[1])
    check_against_blocks(x, alibi(3, device), dtype)


# Without decay states are carried to each share by kernels of their own.
@pytest.mark.parametrize("dims", [(64, 64), (128, 256), (256, 256), (256, 32)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_other_dims_without_decay(device, dims, dtype):
    x = make_inputs(device, dtype, batch=1, tokens=3000, heads=2, dim=dims[0], dim_out=dims[1])
    check_against_blocks(x, torch.zeros(2, device=device), dtype)


def test_tf32_where_torch_allows_it(device, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    x = make_inputs(device, torch.float32, tokens=1000, heads=2, dim=128, dim_out=64)
    with torch.no_grad():
        o, _ = lightning_attention(*x.sequence)
    assert 1e-6 < relative_rms(o, blockwise(*x.sequence)[0]) < 2e-3


# elements of one tensor: the least multiple of a sequence below 2^31, and one past it
@pytest.mark.parametrize("batch", [1023, 1025])
def test_offsets_past_2_to_the_31_by_batch(device, batch):
    check_far_end(device, batch=batch, tokens=1024)


@pytest.mark.parametrize("tokens", [2**20 - 64, 2**20 + 64])
def test_offsets_past_2_to_the_31_by_length(device, tokens):
    check_far_end(device, batch=1, tokens=tokens)


def check_far_end(device, *, batch, tokens, heads=16, dim=128):
    """The last head of the last sequence equals the same computed alone (28 GiB at 2^31 elements)."""
    generator = torch.Generator(device).manual_seed(0)
    shape = (batch, tokens, heads, dim)
    q, k, v, do = (torch.empty(shape, dtype=torch.bfloat16, device=device) for _ in range(4))
    for x in (q, k, v, do):
        for part in x.view(-1, 2**16).split(2**12):
            part.normal_(generator=generator).mul_(0.3)
    slopes = alibi(heads, device)
    inputs = [x.requires_grad_() for x in (q, k, v)]
    o, _ = lightning_attention(*inputs, slopes)
    found = [o, *torch.autograd.grad(o, inputs, do)]
    del o
    last = (slice(-1, None), slice(None), slice(-1, None))
    found = [x[last].detach().clone() for x in found]
    alone = [x[last].detach().clone().requires_grad_() for x in inputs]
    do = do[last].clone()
    del q, k, v, inputs, x
    right, _ = blockwise(*alone, slopes[-1:], block=1024)
    wanted = [right, *torch.autograd.grad(right, alone, do.double())]
    for a, b, limit in zip(found, wanted, (5e-3, 8e-3, 8e-3, 8e-3), strict=True):
        for rows in (slice(None), slice(0, 64), slice(-64, None)):
            assert relative_rms(a[:, rows], b[:, rows]) < limit


def count_variants():
    from lightning_attention import hopper_gradients, hopper_walk, states, step, walk

    kernels = (
        walk.walk_kernel,
        states.own_states_kernel,
        states.carry_states_kernel,
        step.step_kernel,
        hopper_walk.hopper_walk_kernel,
        hopper_gradients.hopper_gradients_kernel,
    )
    return [sum(len(caches[0]) for caches in kernel.device_caches.values()) for kernel in kernels]


def test_lengths_and_element_counts_share_their_variants(device):
    def run(batch, tokens, heads):
        x = make_inputs(device, torch.bfloat16, batch=batch, tokens=tokens, heads=heads, dim=128, dim_out=128)
        for state in (None, x.initial_state):
            o, _ = lightning_attention(*x.sequence, initial_state=state, output_final_state=state is not None)
            torch.autograd.grad(o, x.differentiable[:3], torch.randn_like(o))

    run(1, 300, 2)  # compiles the kernels of either path
    run(1, 8192, 2)
    run(1, 2**18, 2)  # shares of a length that takes another number of blocks in flight
    before = count_variants()
    for tokens in (1, 15, 16, 17, 4096, 4097):
        run(1, tokens, 2)
        run(3, tokens, 1)
    with torch.no_grad():
        small, large = (
            torch.zeros(1, n, 16, 128, dtype=torch.bfloat16, device=device) for n in (2**20 - 1, 2**20 + 1)
        )
        for x in (small, large):
            lightning_attention(x, x, x, alibi(16, device))
    assert count_variants() == before


def test_the_same_bits_twice(device):
    x = make_inputs(device, torch.bfloat16, batch=2, tokens=9000, heads=3, dim=128, dim_out=128)

    def run():
        outputs = lightning_attention(*x.sequence, initial_state=x.initial_state, output_final_state=True)
        return [*outputs, *torch.autograd.grad(outputs, x.differentiable, [y.detach() for y in outputs])]

    for a, b in zip(run(), run(), strict=True):
        assert torch.equal(a, b)


@torch.no_grad()
def test_captured_in_a_cuda_graph(device):
    x = make_inputs(device, torch.bfloat16, tokens=5000, heads=2, dim=128, dim_out=128)
    one = (x.q[:, 0], x.k[:, 0], x.v[:, 0], x.slopes, x.initial_state)
    cu_seqlens = torch.tensor([0, 4000, 5000], device=device)
    run = [
        lambda: lightning_attention(*x.sequence)[0],
        lambda: lightning_attention(*x.sequence, cu_seqlens=cu_seqlens)[0],
        lambda: lightning_attention_step(*one)[0],
    ]
    expected = [call().clone() for call in run]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = [call() for call in run]
    graph.replay()
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


@torch.no_grad()
def test_no_wait_for_the_gpu(device):
    x = make_inputs(device, torch.bfloat16, tokens=3000, heads=2, dim=64, dim_out=64)
    cu_seqlens = torch.tensor([0, 10, 10, 3000], device=device, dtype=torch.int32)
    lightning_attention(*x.sequence, cu_seqlens=cu_seqlens)  # compiles, and looks at the slopes once
    torch.cuda.set_sync_debug_mode("error")
    try:
        lightning_attention(*x.sequence, cu_seqlens=cu_seqlens)
        lightning_attention_step(
            x.q[:, 0], x.k[:, 0], x.v[:, 0], x.slopes, torch.zeros(1, 2, 64, 64, device=device)
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")
