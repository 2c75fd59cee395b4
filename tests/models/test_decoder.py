"""The decoder is right: loss at initialisation, pieces against the whole, and it learns."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from models.tiny import BODIES, NATIVE, case_of
from torch import Tensor

from lbench import models
from lbench.case import Case
from lbench.models.adamw import AdamW, Rates
from lbench.models.decoder import Decoder
from lbench.models.drawing import draw
from lbench.models.loss import cross_entropy
from lbench.models.meter import Meter
from lbench.models.mixing import bind
from lbench.models.workload import drawn_tokens, empty_held, prefill_of

TOLERANCE = 2e-5
"""Largest difference of logits over their RMS in fp32: pieces sum in another order than the whole."""
STEPS, LENGTH = 240, 48
LEARNED = (1.4, 2.5)
"""Losses that all end between; the text's letters alone, without what is before them, have an entropy of 3.0,
and whoever sees the next one comes to nearly nothing."""
ids = [f"{name}-{body}-{mechanism}" for name, body, mechanism in BODIES]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


LEARNING = [body for body in NATIVE if body[0] not in ("llama3-tiny", "minimax-tiny")]
LEARNING += [("tnl-tiny", "common", "linear")]
"""Every eager mixer once."""


def decoder_of(case: Case, **settings: object) -> Decoder:
    model = models.of_case(case)
    top, blocks = draw(model, 1, "cpu", torch.float32)
    return Decoder(model=model, top=top, blocks=blocks, **settings)


def mixes_of(decoder: Decoder, case: Case, pass_name: str, length: int) -> list:
    meter = Meter("cpu")
    return bind(
        decoder.model, case, "cpu", pass_name=pass_name, batch=case.batch, seq_len=length, meter=meter
    )


def whole_logits(decoder: Decoder, case: Case, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        mixes = mixes_of(decoder, case, "fwdbwd", tokens.shape[1])
        return decoder.hidden(tokens, mixes) @ decoder.head.T


def distance(given: Tensor, wanted: Tensor) -> float:
    return float((given - wanted).abs().max() / wanted.square().mean().sqrt())


@pytest.mark.parametrize(("name", "body", "mechanism"), BODIES, ids=ids)
def test_prefill_in_chunks_and_decoding_give_the_logits_of_the_parallel_forward(name, body, mechanism):
    prompt, more = 75, 3
    case = case_of(name, body, mechanism, batch=2, seq_len=prompt, prefill_chunk=32)
    decoder = decoder_of(case)
    tokens = drawn_tokens(case, "cpu", prompt + more)
    wanted = whole_logits(decoder, case, tokens)
    with torch.no_grad():
        x, held = prefill_of(decoder, case, "cpu", Meter("cpu"))(tokens[:, :prompt])
        assert distance(x[:, -1] @ decoder.head.T, wanted[:, prompt - 1]) < TOLERANCE
        for at in range(prompt, prompt + more):
            for layer, one in zip(decoder.model.blocks, held, strict=True):
                room = empty_held(layer, case, "cpu", 1)
                one |= {key: torch.cat((one[key], room[key]), 1) for key in "kv" if key in one}
            x = decoder.hidden(tokens[:, at : at + 1], mixes_of(decoder, case, "decode", at), at, held)
            assert distance(x[:, -1] @ decoder.head.T, wanted[:, at]) < TOLERANCE


def gradients(decoder: Decoder, case: Case, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
    leaves = [parameter.requires_grad_() for parameter in decoder.parameters]
    x = decoder.hidden(tokens[:, :-1], mixes_of(decoder, case, "fwdbwd", tokens.shape[1] - 1))
    loss = cross_entropy(x.flatten(0, 1), decoder.head, tokens[:, 1:].flatten())
    return loss, list(torch.autograd.grad(loss, leaves))


@pytest.mark.parametrize(("name", "body", "mechanism"), [*NATIVE, ("tnl-tiny", "common", "mamba1")])
def test_checkpoints_and_chunks_change_no_gradient(name, body, mechanism):
    case = case_of(name, body, mechanism, batch=2)
    tokens = drawn_tokens(case, "cpu", 50)
    loss, wanted = gradients(decoder_of(case), case, tokens)
    assert abs(float(loss.detach()) - math.log(256)) < 0.1
    for settings in ({"checkpoint": "selective"}, {"checkpoint": "block", "chunk": 16}, {"chunk": 7}):
        again, given = gradients(decoder_of(case, **settings), case, tokens)
        torch.testing.assert_close(again, loss)
        for one, other in zip(given, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
        assert all(gradient.any() for gradient in given), "a weight that nothing depends on"


@pytest.mark.parametrize(("name", "body", "mechanism"), LEARNING)
def test_a_few_hundred_steps_on_a_real_text_bring_the_loss_down_alike(name, body, mechanism):
    text = torch.tensor(list((Path(__file__).parent / "genesis.txt").read_bytes()))
    case = case_of(name, body, mechanism, batch=4)
    decoder = decoder_of(case)
    leaves = [parameter.requires_grad_() for parameter in decoder.parameters]
    optimizer = AdamW(leaves, Rates(learning=1e-2))
    mixes = mixes_of(decoder, case, "fwdbwd", LENGTH)
    chance = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(STEPS):
        starts = torch.randint(len(text) - LENGTH - 1, (4,), generator=chance)
        tokens = torch.stack([text[start : start + LENGTH + 1] for start in starts])
        x = decoder.hidden(tokens[:, :-1], mixes)
        loss = cross_entropy(x.flatten(0, 1), decoder.head, tokens[:, 1:].flatten())
        optimizer.step(torch.autograd.grad(loss, leaves))
        losses.append(float(loss.detach()))
    assert abs(losses[0] - math.log(256)) < 0.1
    assert LEARNED[0] < sum(losses[-20:]) / 20 < LEARNED[1], losses[::20]


def test_the_cross_entropy_is_torchs_own_whatever_its_pieces(monkeypatch):
    from lbench.models import loss as module

    x, head = torch.randn(37, 8, dtype=torch.float64), torch.randn(11, 8, dtype=torch.float64)
    aims = torch.randint(11, (37,))
    for logits in (1 << 28, 11 * 5):
        monkeypatch.setattr(module, "LOGITS", logits)
        leaves = [x.clone().float().requires_grad_(), head.clone().float().requires_grad_()]
        mine = torch.autograd.grad(3 * cross_entropy(*leaves, aims), leaves)
        theirs = torch.autograd.grad(
            3 * torch.nn.functional.cross_entropy(leaves[0] @ leaves[1].T, aims), leaves
        )
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other)


def test_no_logits_of_a_whole_sequence_exist(monkeypatch):
    from lbench.memory import watched
    from lbench.models import loss as module

    monkeypatch.setattr(module, "LOGITS", 1 << 14)
    count, vocab = 4096, 1024
    x, head = torch.randn(count, 8, requires_grad=True), torch.randn(vocab, 8, requires_grad=True)
    aims = torch.randint(vocab, (count,))
    _, use = watched(lambda: cross_entropy(x, head, aims), "cpu")
    assert use.peak < count * vocab * 4 / 8


def test_bf16_weights_follow_their_updates_on_average():
    weights = torch.ones(20_000, dtype=torch.bfloat16)
    optimizer = AdamW([weights], Rates(learning=1e-4, decay=0.0))
    for _ in range(20):
        optimizer.step([torch.ones_like(weights)])
    # Rounded to nearest they would not move at all: half a step of bf16 below 1 is 2e-3.
    assert float(weights.float().mean()) == pytest.approx(1 - 20 * 1e-4, abs=2e-4)


def test_layers_of_one_kind_are_one_object():
    blocks = models.load("tnl-1b").blocks
    assert len({id(layer) for layer in blocks}) == 2
    assert (blocks[0].rotary, blocks[1].rotary) == ("lrpe", "none")
    hybrid = models.load("minimax-1b")
    attention = [layer.mechanism == "softmax" for layer in hybrid.blocks]
    assert attention == [(index + 1) % 8 == 0 for index in range(16)]


def test_the_lrpe_of_a_long_sequence_is_made_in_pieces(monkeypatch):
    from lbench.models import layers

    x, theta = torch.randn(2, 50, 3, 4, requires_grad=True), torch.rand(3, 4, requires_grad=True)
    angle = torch.arange(7, 57)[:, None, None] * theta
    wanted = torch.cat((x * angle.cos(), x * angle.sin()), -1)
    monkeypatch.setattr(layers, "LRPE_TOKENS", 16)
    given = layers.lrpe(x, theta, 7)
    torch.testing.assert_close(given, wanted)
    push = torch.randn_like(wanted)
    for one, other in zip(
        *(torch.autograd.grad(out, (x, theta), push) for out in (given, wanted)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_model_of_a_case_is_native_or_common():
    native = models.of_case(case_of("tnl-tiny", "native", "lightning"))
    common = models.of_case(case_of("tnl-tiny", "common", "gla"))
    assert (native.gate, common.gate, common.mechanism) == ("linear", "none", "gla")
    assert dataclasses.asdict(native)["layers"] == common.layers


@pytest.fixture
def counted(monkeypatch):
    """torch.compile with a backend that only counts the graphs it is given."""
    from lbench.models import decoder

    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    pieces = tuple(
        torch.compile(piece, fullgraph=True, dynamic=False, backend=backend)
        for piece in (decoder.enter, decoder.leave, decoder.mlp)
    )
    monkeypatch.setattr(decoder, "_compiled", lambda: pieces)
    yield graphs
    torch._dynamo.reset()


@pytest.mark.parametrize(
    "name", ["tnl-tiny", "llama-tiny", "llama3-tiny", "gla-tiny", "gdn-tiny", "mamba-tiny"]
)
def test_what_is_compiled_changes_no_gradient(counted, name):
    case = case_of(name, "native", models.load(name).mechanism, batch=2)
    tokens = drawn_tokens(case, "cpu", 33)
    loss, wanted = gradients(decoder_of(case), case, tokens)
    for settings in ({}, {"checkpoint": "block"}, {"checkpoint": "selective", "chunk": 16}):
        again, given = gradients(decoder_of(case, compiled=True, **settings), case, tokens)
        torch.testing.assert_close(again, loss)
        for one, other in zip(given, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert counted


@pytest.mark.parametrize("name", ["tnl-tiny", "llama-tiny", "minimax-tiny"])
def test_steps_of_as_many_tokens_are_compiled_once_whatever_their_length(counted, name):
    counts = []
    for batch, length in ((2, 32), (4, 16), (8, 8)):
        case = case_of(name, "native", models.load(name).mechanism, batch=batch)
        gradients(decoder_of(case, compiled=True), case, drawn_tokens(case, "cpu", length + 1))
        counts.append(len(counted))
    assert counts[0] > 0
    assert counts[0] == counts[1] == counts[2]
