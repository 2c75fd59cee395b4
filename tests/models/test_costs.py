"""What a model's case must compute, move and hold, against what torch counts and the workload allocates."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from models.tiny import BODIES, NATIVE, case_of
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lbench import models
from lbench.case import Case
from lbench.models import costs
from lbench.models.decoder import Decoder, Mix
from lbench.models.drawing import draw
from lbench.models.loss import cross_entropy
from lbench.models.spec import Layer
from lbench.models.workload import drawn_tokens, empty_held

LENGTH = 80
SETTINGS = list(itertools.product(["none", "selective", "block"], [0, 32, LENGTH]))


def without_matrices(layer: Layer) -> Mix:
    """Stands in for a mixer: all of its inputs count, and nothing of it is a matrix product."""

    def mix(tensors: dict[str, Tensor], _: object) -> Tensor:
        batch, time = tensors["v" if "v" in tensors else "x"].shape[:2]
        whole = [one.sum() if name == "A" else one.flatten(2).sum(-1) for name, one in tensors.items()]
        return sum(whole)[..., None, None].expand(batch, time, layer.heads, layer.head_dim_v).tanh()

    return mix


def counted_flops(case: Case) -> int:
    """Of the matrix products of a training step outside the mixers, as torch counts them."""
    model = models.of_case(case)
    top, blocks = draw(model, 1, "cpu", torch.float32)
    decoder = Decoder(model=model, top=top, blocks=blocks, checkpoint=case.checkpoint, chunk=case.chunk)
    leaves = [parameter.requires_grad_() for parameter in decoder.parameters]
    tokens = drawn_tokens(case, "cpu", case.seq_len + 1)
    with FlopCounterMode(display=False) as counter:
        x = decoder.hidden(tokens[:, :-1], [without_matrices(layer) for layer in model.blocks])
        loss = cross_entropy(x.flatten(0, 1), decoder.head, tokens[:, 1:].flatten())
        torch.autograd.grad(loss, leaves)
    return counter.get_total_flops()


@pytest.mark.parametrize(("name", "body", "mechanism"), BODIES)
def test_executed_flops_are_those_that_torch_counts_in_every_setting(monkeypatch, name, body, mechanism):
    monkeypatch.setattr(costs, "_mixer_flops", lambda *_: 0.0)
    case = case_of(name, body, mechanism, pass_name="train", seq_len=LENGTH, batch=2)
    assert counted_flops(case) == costs.useful_flops(case)
    for checkpoint, chunk in SETTINGS:
        one = dataclasses.replace(case, checkpoint=checkpoint, chunk=chunk)
        assert counted_flops(one) == pytest.approx(costs.executed_flops(one), rel=1e-9), (checkpoint, chunk)


@pytest.mark.parametrize(("name", "body", "mechanism"), BODIES)
def test_useful_training_is_three_forwards_and_what_a_backward_recomputes_is_executed(name, body, mechanism):
    case = case_of(name, body, mechanism, pass_name="train", seq_len=64)
    # A prompt of one token each has all of its logits wanted.
    prompts = dataclasses.replace(case, pass_name="prefill", batch=64, seq_len=1)
    mixers = [
        [costs._mixer_flops(one, layer, "fwd") for layer in models.of_case(case).blocks]
        for one in (case, prompts)
    ]
    forward = costs.useful_flops(prompts) - sum(mixers[1]) + sum(mixers[0])
    assert costs.useful_flops(case) == pytest.approx(3 * forward)
    beyond = costs.executed_flops(case) - costs.useful_flops(case)
    softmax = sum(
        flops
        for flops, layer in zip(mixers[0], models.of_case(case).blocks, strict=True)
        if layer.mechanism == "softmax"
    )
    assert beyond == pytest.approx(0.5 * softmax)


@pytest.mark.parametrize("pass_name", ["prefill", "decode"])
@pytest.mark.parametrize(("name", "body", "mechanism"), NATIVE)
def test_the_predicted_cache_is_what_the_workload_allocates(name, body, mechanism, pass_name):
    case = case_of(name, body, mechanism, pass_name=pass_name, batch=3, seq_len=20)
    held = [
        empty_held(layer, case, "cpu", 20 + (pass_name == "decode")) for layer in models.of_case(case).blocks
    ]
    assert costs.memory_of(case).cache == sum(tensor.nbytes for one in held for tensor in one.values())


def test_of_an_untied_embedding_the_rows_of_the_tokens_are_read():
    case = models.fields_of("llama3-8b", "sdpa_flash", "softmax", "native", "", "cuda")
    case = dataclasses.replace(case, pass_name="decode", seq_len=1024)
    model, cache = models.of_case(case), costs.memory_of(case).cache
    table = model.vocab * model.width
    read = model.parameters - table + model.width
    assert costs.floor_bytes(case) == 2 * read + cache
    prompts = dataclasses.replace(case, pass_name="prefill", batch=200)
    assert costs.floor_bytes(prompts) == 2 * model.parameters + costs.memory_of(prompts).cache
    tied = dataclasses.replace(case, model="llama3-1b")
    assert costs.floor_bytes(tied) > 2 * models.load("llama3-1b").parameters
    # The backward reads none of it.
    train = dataclasses.replace(case, pass_name="train", batch=200)
    assert costs.floor_bytes(train) == 2 * (14 * model.parameters - table)


@pytest.mark.parametrize("name", ["mamba-130m", "mamba2-130m"])
def test_without_mlps_selective_checkpoints_take_what_none_take(name):
    mechanism = models.load(name).mechanism
    case = models.fields_of(name, f"{mechanism}_eager", mechanism, "native", "", "cpu")
    parts = [
        costs.memory_of(dataclasses.replace(case, checkpoint=checkpoint, batch=8, seq_len=2048))
        for checkpoint in ("none", "selective")
    ]
    assert parts[0] == parts[1]
