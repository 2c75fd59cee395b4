"""Launches are repeated from kept arguments only for tensors at the same places."""

from __future__ import annotations

import pytest
import torch
from lightning_attention import lightning_attention, variants
from lightning_attention.paths import choose_path
from lightning_attention.variants import MOST_REPEATED, Repeats
from recurrence import make_inputs


class Recorder:
    """Stands for a compiled kernel: writes down what it is asked for."""

    def __init__(self, *, repeats: bool = True) -> None:
        self.told: list[tuple[str, tuple[object, ...]]] = []
        self.repeats = repeats

    def launch(self, _num_programs, _device, *args):
        self.told.append(("launched", args))

    def repeat(self, _num_programs, _device, args):
        return (lambda: self.told.append(("repeated", args))) if self.repeats else None


def launch(repeats, variant, *tensors):
    repeats.launch(variant, 1, tensors, lambda: tuple(x.data_ptr() for x in tensors))


@pytest.fixture
def unwatched():
    pytest.importorskip("triton", minversion="3.6")


@pytest.mark.usefixtures("unwatched")
def test_from_the_third_call_on_a_launch_is_repeated():
    a, b = torch.zeros(4), torch.zeros(4)
    repeats, variant = Repeats(), Recorder()
    for _ in range(4):
        launch(repeats, variant, a, b)
        launch(repeats, variant, b, a)
    kinds = [kind for kind, _ in variant.told]
    assert kinds == ["launched"] * 4 + ["repeated"] * 4
    assert [args for _, args in variant.told] == [
        (a.data_ptr(), b.data_ptr()),
        (b.data_ptr(), a.data_ptr()),
    ] * 4


def test_a_launch_that_cannot_be_repeated_is_made_anew():
    repeats, variant = Repeats(), Recorder(repeats=False)
    for _ in range(5):
        launch(repeats, variant, torch.empty(0))
    assert [kind for kind, _ in variant.told] == ["launched"] * 5


@pytest.mark.usefixtures("unwatched")
def test_not_more_places_are_kept_than_said():
    repeats, variant = Repeats(), Recorder()
    kept = [torch.zeros(1) for _ in range(3 * MOST_REPEATED)]
    for _ in range(2):
        for x in kept:
            launch(repeats, variant, x)
    assert len(repeats._known) <= MOST_REPEATED


@pytest.mark.gpu
def test_repeated_launches_read_what_lies_there_now(device, monkeypatch):
    made = []
    repeat = variants.Variant.repeat
    monkeypatch.setattr(variants.Variant, "repeat", lambda *args: made.append(repeat(*args)) or made[-1])
    x = make_inputs(device, torch.bfloat16, tokens=300, heads=2, dim=128, dim_out=128)
    q, k, v = (t.detach().requires_grad_() for t in (x.q, x.k, x.v))

    def run():
        o, _ = lightning_attention(q, k, v, x.slopes)
        return [o.detach(), *torch.autograd.grad(o, (q, k, v), torch.ones_like(o))]

    first = [t.clone() for t in run()]
    for _ in range(5):
        assert all(torch.equal(a, b) for a, b in zip(first, run(), strict=True))
    if variants.REPEATED and choose_path(q, v) == "hopper":
        assert made
        assert None not in made
    with torch.no_grad():
        v.mul_(2)
    o, dq, dk, dv = run()
    assert torch.equal(o, 2 * first[0])
    assert torch.equal(dq, 2 * first[1])
    assert torch.equal(dk, 2 * first[2])
    assert torch.equal(dv, first[3])


@pytest.mark.gpu
def test_slopes_with_other_memory_are_read_there(device):
    x = make_inputs(device, torch.bfloat16, tokens=300, heads=2, dim=128, dim_out=128)
    slopes = x.slopes.clone()
    q, k, v = (t.detach().requires_grad_() for t in (x.q, x.k, x.v))
    ones = torch.ones_like(v)

    def run(given):
        return torch.autograd.grad(lightning_attention(q, k, v, given)[0], (q, k, v), ones)

    for _ in range(4):
        run(slopes)
    slopes.data = 2 * x.slopes
    for one, other in zip(run(slopes), run(2 * x.slopes), strict=True):
        assert torch.equal(one, other)
