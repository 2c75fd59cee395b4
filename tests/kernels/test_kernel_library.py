"""Operators of torch.library, fake tensors, torch.compile; derivatives as central differences."""

from __future__ import annotations

import pytest
import torch
import torch._dynamo.testing
from calls import NAMES, call, detached, draw
from lightning_attention import lightning_attention, lightning_attention_step
from recurrence import gradients, make_inputs, relative_rms
from torch._subclasses.fake_tensor import FakeTensorMode

f16, f32 = torch.float16, torch.float32
operators = torch.ops.lightning_attention


def arguments(x, *, state=True, cu_seqlens=None, final=True, scale=0.6):
    """Positional arguments of the operator forward."""
    return (*x.sequence, x.initial_state if state else None, cu_seqlens, scale, final)


# The operation is linear in each of q, k, v and the state, so a central difference has no error of its own:
# the step may be as large as the argument, and fp32 is precise enough.
@pytest.mark.filterwarnings("ignore:Input .* requires gradient and is not a double precision")
@pytest.mark.parametrize(("route", "packed"), [("function", True), ("operator", False)])
def test_gradcheck(device, route, packed):
    cu_seqlens = torch.tensor([0, 1, 3], device=device) if packed else None
    x = make_inputs(device, f32, tokens=3, heads=1, states=2 if packed else 1)

    def run(q, k, v, initial_state):
        if route == "operator":
            return operators.forward(q, k, v, x.slopes, initial_state, cu_seqlens, 0.6, True)
        return lightning_attention(
            *(q, k, v, x.slopes),
            scale=0.6,
            initial_state=initial_state,
            output_final_state=True,
            cu_seqlens=cu_seqlens,
        )

    # What is undefined counts as zero: asked of one route, since both run the same backward pass.
    options = {"atol": 1e-4, "rtol": 1e-4, "fast_mode": True, "check_undefined_grad": route == "operator"}
    assert torch.autograd.gradcheck(run, x.differentiable, eps=1.0, **options)


# Without gradients once: schema and fake tensors are the same, and compiling without is tested below.
@pytest.mark.parametrize(
    ("state", "packed", "final", "grad", "dtype"),
    [
        (False, False, False, False, f32),
        (False, False, False, True, torch.float16),
        (True, False, True, True, f32),
        (True, True, True, True, f32),
    ],
)
def test_opcheck_forward(device, state, packed, final, grad, dtype):
    cu_seqlens = torch.tensor([0, 0, 5], device=device) if packed else None
    x = detached(make_inputs(device, dtype, tokens=5, heads=1, states=2 if packed else 1), grad=grad)
    torch.library.opcheck(
        operators.forward.default, arguments(x, state=state, cu_seqlens=cu_seqlens, final=final)
    )


@pytest.mark.parametrize(
    ("needs", "output", "final", "packed"),
    [
        ((True, True, True, True), True, True, True),
        ((True, False, False, False), True, False, False),
        ((False, True, False, True), False, True, False),
    ],
)
def test_opcheck_backward(device, needs, output, final, packed):
    cu_seqlens = torch.tensor([0, 0, 5], device=device) if packed else None
    x = detached(make_inputs(device, f32, tokens=5, heads=1, states=2 if packed else 1))
    do, d_final = draw(call(x, cu_seqlens=cu_seqlens))
    given = (*x.sequence, x.initial_state, cu_seqlens, do if output else None, d_final if final else None)
    torch.library.opcheck(operators.backward.default, (*given, 0.6, *needs))


@pytest.mark.parametrize("packed", [False, True])
def test_operator_equals_function(device, packed, force_shares):
    force_shares(3)  # slow decay and short shares: states are carried, and made again for the gradients
    cu_seqlens = torch.tensor([0, 70, 80, 200], device=device) if packed else None
    x = make_inputs(device, f32, tokens=200, heads=1, states=3 if packed else 1)
    x.slopes = torch.tensor([0.01], device=device)
    outputs = call(x, cu_seqlens=cu_seqlens)
    through = operators.forward(*arguments(x, cu_seqlens=cu_seqlens))
    upstream = draw(outputs)
    found, wanted = (gradients(o, x.differentiable, upstream) for o in (through, outputs))
    for a, b in zip((*through, *found), (*outputs, *wanted), strict=True):
        assert torch.equal(a, b)


def test_operator_refuses(device):
    x = make_inputs(device, f32, tokens=3, heads=1)
    with pytest.raises(ValueError, match="slopes has values"):
        operators.forward(x.q, x.k, x.v, -x.slopes, None, None, 1.0, False)
    with pytest.raises(ValueError, match=r"slopes\.detach"):
        operators.forward(x.q, x.k, x.v, x.slopes.requires_grad_(), None, None, 1.0, False)


def test_operator_is_differentiable_once(device):
    x = make_inputs(device, f32, tokens=3, heads=1)
    o, _ = operators.forward(*arguments(x))
    (dq,) = torch.autograd.grad(o.sum(), x.q, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(dq.sum(), x.k)


def test_fake_tensors_have_the_shapes(device):
    x = make_inputs(device, f32, batch=2, tokens=5, dim_out=24)
    outputs = call(x)
    with FakeTensorMode() as mode:
        for name in (*NAMES, "slopes"):
            setattr(x, name, mode.from_tensor(getattr(x, name)))
        for a, b in zip(call(x), outputs, strict=True):
            assert (a.shape, a.stride(), a.dtype, a.device) == (b.shape, b.stride(), b.dtype, b.device)
        assert call(x, final=False)[1] is None
        with pytest.raises(ValueError, match=r"given q .*allowed are q and k"):
            lightning_attention(x.q[0], x.k, x.v, x.slopes)


def block(x, *, cu_seqlens=None, final=True):
    """The attention among other operations, as in a model."""
    o, state = call(x, cu_seqlens=cu_seqlens, final=final)
    return (o * 2 + x.v.mean(), *(() if state is None else (state,)))


def check_compiled(x, backend, **options):
    compiled = torch.compile(block, fullgraph=True, backend=backend)
    outputs, wanted = compiled(x, **options), block(x, **options)
    inputs = x.differentiable
    upstream = draw(wanted)
    found = gradients(outputs, inputs, upstream)
    for a, b in zip((*outputs, *found), (*wanted, *gradients(wanted, inputs, upstream)), strict=True):
        assert relative_rms(a, b) <= (0 if backend == "aot_eager" else 2e-3)
    for without_gradients in (torch.no_grad, torch.inference_mode):
        with without_gradients():
            for a, b in zip(compiled(x, **options), wanted, strict=True):
                assert relative_rms(a, b) <= (0 if backend == "aot_eager" else 2e-3)


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_compiles_without_a_graph_break(device, packed, final):
    cu_seqlens = torch.tensor([0, 5, 5, 20], device=device) if packed else None
    x = make_inputs(device, f32, tokens=20, heads=1, states=3 if packed else 1)
    check_compiled(x, "aot_eager", cu_seqlens=cu_seqlens, final=final)


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_once_for_every_length(device):
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(call, fullgraph=True, backend=counter, dynamic=True)
    compiled(detached(make_inputs(device, f32, batch=2, tokens=5)))
    count = counter.frame_count
    for tokens in (17, 64, 65):
        x = detached(make_inputs(device, f32, batch=2, tokens=tokens))
        for a, b in zip(compiled(x), call(x), strict=True):
            assert torch.equal(a, b)
    assert counter.frame_count == count


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_reads_slopes_when_it_runs(device):
    x = make_inputs(device, f32, tokens=5)
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    compiled(x)
    x.slopes.mul_(2)
    assert torch.equal(compiled(x)[0], call(x)[0])
    x.slopes.neg_()
    with pytest.raises(ValueError, match="slopes has values"):
        compiled(x)


@pytest.mark.usefixtures("fresh_compiler")
def test_compiling_refuses_shapes(device):
    x = make_inputs(device, f32, tokens=5)
    x.q = x.q[:, :4]
    with pytest.raises(Exception, match=r"given q .*allowed are q and k \[B, T, H, D\]"):
        torch.compile(call, fullgraph=True, backend="aot_eager")(x)


@pytest.mark.gpu
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("dtype", [torch.bfloat16, f32])
@pytest.mark.parametrize("packed", [False, True])
def test_compiles_with_inductor(device, dtype, packed):
    cu_seqlens = torch.tensor([0, 1000, 1000, 4096], device=device) if packed else None
    x = make_inputs(device, dtype, tokens=4096, dim=128, dim_out=128, states=3 if packed else 1)
    check_compiled(x, "inductor", cu_seqlens=cu_seqlens)


@pytest.mark.usefixtures("fresh_compiler")
def test_autocast_under_compile(device):
    x = make_inputs(device, f32, tokens=20, heads=1)
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    for enabled, dtype in ((True, f16), (False, f32)):
        with torch.autocast(device.type, dtype=f16, enabled=enabled):
            outputs, wanted = compiled(x), call(x)
        assert outputs[0].dtype is dtype
        upstream = draw(wanted)
        pairs = [(*o, *gradients(o, x.differentiable, upstream)) for o in (outputs, wanted)]
        for a, b in zip(*pairs, strict=True):
            assert torch.equal(a, b)


def one_token(x, dtype=None):
    """Arguments of a step."""
    return (
        *(y[:, 0].detach().to(dtype or y.dtype) for y in (x.q, x.k, x.v)),
        x.slopes,
        x.initial_state.detach(),
    )


@pytest.mark.parametrize("name", ["step", "step_"])
@pytest.mark.parametrize("dtype", [f32, f16])
def test_opcheck_step(device, name, dtype):
    x = make_inputs(device, dtype, batch=2, tokens=1, dim_out=24)
    torch.library.opcheck(getattr(operators, name).default, (*one_token(x), 0.6))


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("inplace", [False, True])
@torch.no_grad()
def test_steps_compile_without_a_graph_break(device, inplace):
    def decode(q, k, v, slopes, cache):
        o, state = lightning_attention_step(q * 2, k, v, slopes, cache[:, 1], scale=0.6, inplace=inplace)
        return o + 1, state * 2

    x = make_inputs(device, f32, batch=2, tokens=1)
    *one, state = one_token(x)
    caches = [state.unsqueeze(1).repeat(1, 3, 1, 1, 1) for _ in range(2)]  # [B, layers, H, D, E]
    compiled = torch.compile(decode, fullgraph=True, backend="aot_eager")
    for found, wanted in zip(compiled(*one, caches[0]), decode(*one, caches[1]), strict=True):
        assert torch.equal(found, wanted)
    assert torch.equal(*caches)
    assert torch.equal(caches[0][:, 1], state) is not inplace


@torch.no_grad()
def test_a_step_of_fake_tensors_is_checked(device):
    *one, state = one_token(make_inputs(device, f32, tokens=1, dim_out=24))
    outputs = lightning_attention_step(*one, state)
    with FakeTensorMode() as mode:
        fake = [mode.from_tensor(y) for y in (*one, state)]
        for a, b in zip(lightning_attention_step(*fake), outputs, strict=True):
            assert (a.shape, a.stride(), a.dtype, a.device) == (b.shape, b.stride(), b.dtype, b.device)
        with pytest.raises(ValueError, match="allowed is"):
            lightning_attention_step(*fake[:4], fake[4][:, :1])
        with pytest.raises(ValueError, match="inplace=True needs"):
            lightning_attention_step(
                *fake[:4], fake[4][..., ::2].repeat_interleave(2, -1).mT.contiguous().mT, inplace=True
            )
