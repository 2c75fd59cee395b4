"""Capture and replay, by hand and by torch.compile; only a GPU can show it."""

from __future__ import annotations

import pytest
import torch
from calls import draw
from lightning_attention import lightning_attention
from recurrence import make_inputs, relative_rms

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("slope", [0.5, 1e-4])
def test_compiles_to_cuda_graphs(device, slope):
    torch._dynamo.reset()
    slopes = torch.full((4,), slope, device=device)
    compiled = torch.compile(lightning_attention, fullgraph=True, mode="reduce-overhead")
    for seed in range(5):  # warm-up, capture, replays
        x = make_inputs(device, torch.bfloat16, tokens=8192, heads=4, dim=64, dim_out=64, seed=seed)
        torch.compiler.cudagraph_mark_step_begin()
        o, _ = compiled(x.q, x.k, x.v, slopes)
        wanted, _ = lightning_attention(x.q, x.k, x.v, slopes)
        do = torch.randn_like(o)
        found = torch.autograd.grad(o, x.differentiable[:3], do)
        for a, b in zip(
            (o, *found), (wanted, *torch.autograd.grad(wanted, x.differentiable[:3], do)), strict=True
        ):
            assert relative_rms(a, b) < 2e-3


def capture(x, slopes):
    """A graph of the forward and backward pass over x, its outputs and gradients, and the output gradient."""
    do = torch.ones_like(x.v)

    def run():
        o, final = lightning_attention(
            x.q, x.k, x.v, slopes, initial_state=x.initial_state, output_final_state=True
        )
        return o, final, *torch.autograd.grad(o, x.differentiable, do)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = run()
    return graph, found, do, run


GRAPHED = {"device": torch.device("cuda"), "dtype": torch.bfloat16, "heads": 2, "dim": 128, "dim_out": 128}


@pytest.mark.parametrize("slope", [0.5, 1e-4])
@pytest.mark.parametrize("tokens", [100, 20000, 65536])
def test_replays_a_cuda_graph_with_new_inputs(tokens, slope):
    x = make_inputs(**GRAPHED, tokens=tokens)
    slopes = torch.full((2,), slope, device="cuda")
    graph, found, do, run = capture(x, slopes)
    for seed in (1, 2):
        with torch.no_grad():
            for target, source in zip(
                [*x.differentiable, do], draw([*x.differentiable, do], seed), strict=True
            ):
                target.copy_(source)
        graph.replay()
        for a, b in zip(found, run(), strict=True):
            assert torch.equal(a, b)


def test_a_cuda_graph_outlives_what_calls_keep():
    x = make_inputs(**GRAPHED, tokens=20000)
    slopes = torch.full((2,), 0.5, device="cuda")
    graph, found, _, run = capture(x, slopes)
    graph.replay()
    wanted = [y.clone() for y in found]
    slopes.mul_(1.0)  # changed, for all that calls know: what they keep is made anew, the old memory reused
    run()
    torch.cuda.synchronize()
    filled = [torch.full((200, 4), 2**30, dtype=torch.int32, device="cuda") for _ in range(1000)]
    graph.replay()
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a, b)
    del filled


def test_replays_a_cuda_graph_with_slower_decay():
    x = make_inputs(**GRAPHED, tokens=20000)
    slopes = torch.full((2,), 0.5, device="cuda")
    graph, found, _, run = capture(x, slopes)
    slopes.fill_(1e-4)
    graph.replay()
    for a, b in zip(found, run(), strict=True):
        assert relative_rms(a, b) < 2e-3 or b.norm() == 0
