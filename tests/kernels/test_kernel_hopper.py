"""The laws once more for the path that no interpreter runs: bf16, D and E of 64 and 128, capability 9.0."""

from __future__ import annotations

import itertools

import pytest
import torch
from lightning_attention import lightning_attention
from recurrence import LIMITS, blockwise, gradients, make_inputs, relative_rms

pytestmark = pytest.mark.gpu
BF16 = torch.bfloat16


@pytest.fixture(autouse=True)
def hopper(device):
    from lightning_attention.paths import force_path

    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("needs compute capability 9.0")
    with force_path("hopper"):
        yield


def check(x, slopes, *, scale=1.0, cu_seqlens=None, with_state=True, with_final=True, names=None):
    """Outputs and every gradient against float64, over all and in the worst 64 tokens of a head."""
    state = x.initial_state if with_state else None
    documents = [slice(None)]
    if cu_seqlens is not None:
        documents = [slice(a, b) for a, b in itertools.pairwise(cu_seqlens)]
        cu_seqlens = torch.tensor(cu_seqlens, device=x.q.device)
    outputs = lightning_attention(
        x.q, x.k, x.v, slopes,
        scale=scale, initial_state=state, output_final_state=with_final, cu_seqlens=cu_seqlens,
    )  # fmt: skip
    expected, states = [], []
    for n, part in enumerate(documents):
        first = None
        if state is not None:
            first = state if cu_seqlens is None else state[n : n + 1]
        if x.q[:, part].shape[1] == 0:
            states.append(first.double())
            continue
        o, last = blockwise(
            x.q[:, part], x.k[:, part], x.v[:, part], slopes, scale=scale, initial_state=first, block=64
        )
        expected.append(o)
        states.append(last)
    wanted = [torch.cat(expected, 1), torch.cat(states)]
    outputs, wanted = (list(outputs), wanted) if with_final else ([outputs[0]], wanted[:1])
    generator = torch.Generator("cuda").manual_seed(1)
    upstream = [torch.randn(y.shape, generator=generator, device="cuda").to(y.dtype) for y in outputs]
    inputs = x.differentiable if with_state else x.differentiable[:3]
    found = gradients(outputs, inputs, upstream)
    right = gradients(wanted, inputs, upstream)
    for name, a, b in zip(("o", "final"), outputs, wanted, strict=False):
        assert relative_rms(a, b) < LIMITS[BF16][0], name
    for name, a, b in zip(("dq", "dk", "dv", "d_initial"), found, right, strict=False):
        assert relative_rms(a, b) < LIMITS[BF16][1], name
    for name, a, b in zip(("o", "dq", "dk", "dv"), [outputs[0], *found], [wanted[0], *right], strict=False):
        assert worst_block(a, b) < 4 * LIMITS[BF16][1], name


def worst_block(x, reference):
    """Largest error of 64 tokens of a head, relative to such a block's usual size."""
    lost, size = (x.detach().double() - reference).square().sum((0, 3)), reference.square().sum((0, 3))
    blocks = [y.split(64) for y in (lost, size)]
    lost, size = (torch.stack([b.mean(0) for b in part]) for part in blocks)
    return (lost / size.mean(0).clamp(min=1e-30)).max().sqrt().item()


def slopes_of(heads, kind="alibi"):
    alibi = torch.tensor([2.0 ** (-8 * (i + 1) / heads) for i in range(heads)], device="cuda")
    return alibi * {"alibi": 1.0, "zero": 0.0, "deep": 1e-5, "steep": 8.0, "steepest": 1e9}[kind]


@pytest.mark.parametrize("tokens", [1, 15, 16, 17, 63, 64, 65, 100, 128, 1000, 4096])
def test_any_length(device, tokens):
    x = make_inputs(device, BF16, batch=2, tokens=tokens, heads=3, dim=128, dim_out=128)
    check(x, slopes_of(3), scale=0.7)


@pytest.mark.parametrize("dims", [(64, 64), (64, 128), (128, 64)])
@pytest.mark.parametrize("tokens", [70, 1024])
def test_dims(device, dims, tokens):
    x = make_inputs(device, BF16, batch=2, tokens=tokens, heads=2, dim=dims[0], dim_out=dims[1])
    check(x, slopes_of(2))


@pytest.mark.parametrize("kind", ["alibi", "zero", "deep", "steep", "steepest"])
@pytest.mark.parametrize("count", [1, 2, 7, 40])
@pytest.mark.parametrize("tokens", [1000, 2048])
def test_shares_change_nothing(device, force_shares, kind, count, tokens):
    force_shares(count)
    x = make_inputs(device, BF16, batch=2, tokens=tokens, heads=3, dim=128, dim_out=128)
    check(x, slopes_of(3, kind), scale=0.5)


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("with_final", [False, True])
def test_without_states(device, with_state, with_final):
    x = make_inputs(device, BF16, tokens=300, heads=2, dim=128, dim_out=128)
    check(x, slopes_of(2), with_state=with_state, with_final=with_final)


@pytest.mark.parametrize("kind", ["alibi", "zero"])
@pytest.mark.parametrize("count", [None, 1, 2, 5])
@pytest.mark.parametrize(
    "offsets", [[0, 20], [0, 0, 7, 7, 40, 40], [0, 65, 66, 700], [0, 640, 1280, 1281, 2000]]
)
def test_packed_documents(device, force_shares, kind, count, offsets):
    if count:
        force_shares(count)
    documents = len(offsets) - 1
    x = make_inputs(device, BF16, tokens=offsets[-1], heads=2, dim=128, dim_out=128, states=documents)
    check(x, slopes_of(2, kind), scale=0.5, cu_seqlens=offsets)


def test_a_document_sees_no_nan_of_the_next(device):
    x = make_inputs(device, BF16, tokens=100, heads=2, dim=128, dim_out=128, states=2)
    cu_seqlens = torch.tensor([0, 40, 100], device=device)
    clean, _ = lightning_attention(*x.sequence, cu_seqlens=cu_seqlens)
    with torch.no_grad():
        for t in (x.q, x.k, x.v):
            t[:, 40:] = float("nan")
    o, final = lightning_attention(*x.sequence, cu_seqlens=cu_seqlens, output_final_state=True)
    dq, dk, dv = torch.autograd.grad(o[:, :40].sum(), (x.q, x.k, x.v))
    assert torch.equal(o[:, :40], clean[:, :40])
    assert final[0].isfinite().all()
    assert all(t[:, :40].isfinite().all() for t in (dq, dk, dv))


@pytest.mark.parametrize("layout", ["heads first", "fused", "time first", "shifted", "expanded heads"])
def test_layouts_give_the_same_bits(device, layout):
    from test_kernel_forward import lay_out

    x = make_inputs(device, BF16, batch=2, tokens=200, heads=2, dim=128, dim_out=128)
    q, k, v = (t.detach() for t in (x.q, x.k, x.v))
    if layout == "expanded heads":
        views = [q, *(t[:, :, :1].contiguous().expand(-1, -1, 2, -1) for t in (k, v))]
    else:
        views = [lay_out(t, layout) for t in (q, k, v)]
    do = torch.randn_like(v)
    results = []
    for given in (views, [t.contiguous() for t in views]):
        given = [t.detach().requires_grad_() for t in given]
        o, _ = lightning_attention(*given, x.slopes)
        results.append([o, *torch.autograd.grad(o, given, do)])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_the_same_bits_twice(device):
    x = make_inputs(device, BF16, tokens=30_000, heads=4, dim=128, dim_out=128)
    for kind in ("alibi", "zero"):
        results = []
        for _ in range(2):
            o, final = lightning_attention(
                x.q, x.k, x.v, slopes_of(4, kind), initial_state=x.initial_state, output_final_state=True
            )
            results.append([o, final, *torch.autograd.grad(o, x.differentiable, torch.ones_like(o))])
        for a, b in zip(*results, strict=True):
            assert torch.equal(a, b)


def test_an_old_token_ten_thousand_times_larger(device, force_shares):
    force_shares(8)
    x = make_inputs(device, BF16, tokens=4096, heads=1, dim=128, dim_out=128)
    with torch.no_grad():
        x.v[:, 100] *= 1e4
    for slope in (0.005, 0.05, 0.3):
        slopes = torch.tensor([slope], device=device)
        o, _ = lightning_attention(x.q, x.k, x.v, slopes)
        expected, _ = blockwise(x.q, x.k, x.v, slopes)
        for rows in (slice(0, 90), slice(3000, 4096)):
            assert relative_rms(o[:, rows], expected[:, rows]) < LIMITS[BF16][0]


def test_both_paths_agree(device):
    from lightning_attention.paths import force_path

    x = make_inputs(device, BF16, batch=3, tokens=5000, heads=4, dim=128, dim_out=128)
    o, _ = lightning_attention(*x.sequence)
    do = torch.randn_like(o)
    found = [o, *torch.autograd.grad(o, x.differentiable[:3], do)]
    with force_path("plain"):
        o, _ = lightning_attention(*x.sequence)
    plain = [o, *torch.autograd.grad(o, x.differentiable[:3], do)]
    for a, b in zip(found, plain, strict=True):
        assert relative_rms(a, b.double()) < 4e-3
