"""With the rest of PyTorch: operators, torch.compile, autocast, fake tensors, CUDA graphs, padded dims."""

from __future__ import annotations

import pytest
import torch
from lightning_attention import lightning_attention
from recurrence import DTYPES, LIMITS, gradients, make_inputs, recurrence, relative_rms
from torch._subclasses.fake_tensor import FakeTensorMode

f16, f32 = torch.float16, torch.float32
NAMES = ("q", "k", "v", "initial_state")
operators = torch.ops.lightning_attention


def arguments(x, *, state=True, cu_seqlens=None, final=True, scale=0.6):
    """Positional arguments of the operator forward."""
    return (*x.sequence, x.initial_state if state else None, cu_seqlens, scale, final)


def call(x, *, state=True, cu_seqlens=None, final=True, scale=0.6):
    return lightning_attention(
        *x.sequence,
        scale=scale,
        initial_state=x.initial_state if state else None,
        output_final_state=final,
        cu_seqlens=cu_seqlens,
    )


def draw(tensors, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(t.shape, generator=generator).to(t.device, t.dtype) for t in tensors]


def detached(x, *, grad=False):
    for name in NAMES:
        setattr(x, name, getattr(x, name).detach().requires_grad_(grad))
    return x


# The operation is linear in each of q, k, v and the state, so a central difference has no error of its own: the
# step may be as large as the argument, and fp32 is precise enough.
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_derivative_is_the_central_difference(device, name, packed):
    cu_seqlens = torch.tensor([0, 3, 3, 9], device=device) if packed else None
    x = make_inputs(device, f32, tokens=9, states=3 if packed else 1)
    direction, *upstream = draw([getattr(x, name), *call(x, cu_seqlens=cu_seqlens)])

    def paired_with_upstream(step):
        moved = {"q": x.q, "k": x.k, "v": x.v, "initial_state": x.initial_state}
        moved[name] = moved[name] + step * direction
        outputs = lightning_attention(
            *(moved[n] for n in "qkv"),
            x.slopes,
            scale=0.6,
            initial_state=moved["initial_state"],
            output_final_state=True,
            cu_seqlens=cu_seqlens,
        )
        return sum((o.double() * g.double()).sum() for o, g in zip(outputs, upstream, strict=True))

    with torch.no_grad():
        difference = (paired_with_upstream(1.0) - paired_with_upstream(-1.0)) / 2
    (gradient,) = gradients(call(x, cu_seqlens=cu_seqlens), [getattr(x, name)], upstream)
    slope = (gradient.double() * direction.double()).sum()
    size = gradient.double().norm() * direction.double().norm()
    assert abs(slope - difference) < 2e-6 * size


@pytest.mark.parametrize("name", NAMES)
def test_derivative_by_every_entry(device, name):
    x = make_inputs(device, f32, tokens=2, heads=1)
    entries = getattr(x, name)
    upstream = draw(call(x))
    (found,) = gradients(call(x), [entries], upstream)
    found, wanted = found.flatten(), torch.empty(entries.numel(), dtype=torch.float64, device=device)
    with torch.no_grad():
        for i in range(0, entries.numel(), 5):
            ends = []
            for step in (1.0, -1.0):
                kept = entries.flatten()[i].item()
                entries.view(-1)[i] += step
                outputs = call(x)
                ends.append(
                    sum((o.double() * g.double()).sum() for o, g in zip(outputs, upstream, strict=True))
                )
                entries.view(-1)[i] = kept
            wanted[i] = (ends[0] - ends[1]) / 2
    assert relative_rms(found[::5], wanted[::5]) < 2e-6


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize(
    ("state", "packed", "final"), [(False, False, False), (True, False, True), (True, True, True)]
)
def test_opcheck_forward(device, state, packed, final, grad):
    cu_seqlens = torch.tensor([0, 2, 2, 5], device=device) if packed else None
    x = detached(make_inputs(device, f32, tokens=5, heads=1, states=3 if packed else 1), grad=grad)
    torch.library.opcheck(
        operators.forward.default, arguments(x, state=state, cu_seqlens=cu_seqlens, final=final)
    )


@pytest.mark.parametrize(
    "needs",
    [(True, True, True, True), (True, False, False, False), (False, True, False, False), (False,) * 4],
)
@pytest.mark.parametrize("packed", [False, True])
def test_opcheck_backward(device, packed, needs):
    cu_seqlens = torch.tensor([0, 2, 2, 5], device=device) if packed else None
    x = detached(make_inputs(device, f32, tokens=5, heads=1, states=3 if packed else 1))
    upstream = draw(call(x, cu_seqlens=cu_seqlens))
    given = (*x.sequence, x.initial_state, cu_seqlens)
    for do, d_final in (upstream, (upstream[0], None), (None, upstream[1])):
        torch.library.opcheck(operators.backward.default, (*given, do, d_final, 0.6, *needs))


@pytest.mark.parametrize("packed", [False, True])
def test_operator_equals_function(device, packed, force_shares):
    force_shares(3)  # slow decay and short shares: states are carried, and made again for the gradients
    cu_seqlens = torch.tensor([0, 130, 140, 300], device=device) if packed else None
    x = make_inputs(device, f32, tokens=300, heads=1, states=3 if packed else 1)
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
        assert relative_rms(a, b) <= (0 if x.q.dtype is f32 and backend == "aot_eager" else 2e-3)
    with torch.no_grad():
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
    cu_seqlens = torch.tensor([0, 10, 10, 40], device=device) if packed else None
    x = make_inputs(device, f32, tokens=40, states=3 if packed else 1)
    check_compiled(x, "aot_eager", cu_seqlens=cu_seqlens, final=final)


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_for_every_length_and_scale(device):
    def run(q, k, v, slopes, scale):
        return lightning_attention(q, k, v, slopes, scale=scale, output_final_state=True)

    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(run, fullgraph=True, backend=counter, dynamic=True)
    for tokens, scale in ((5, 0.5), (17, 0.25), (64, 2.0), (65, 3.0)):
        x = detached(make_inputs(device, f32, batch=2, tokens=tokens), grad=True)
        for a, b in zip(compiled(*x.sequence, scale), run(*x.sequence, scale), strict=True):
            assert torch.equal(a, b)
    assert counter.frame_count <= 3  # scale as a constant, then as an input


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


@pytest.mark.gpu
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("slope", [0.5, 1e-4])
def test_compiles_to_cuda_graphs(device, slope):
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
    do = torch.zeros_like(x.v)

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


@pytest.mark.gpu
@pytest.mark.parametrize("slope", [0.5, 1e-4])
@pytest.mark.parametrize("tokens", [100, 20000])
def test_replays_a_cuda_graph_with_new_inputs(tokens, slope):
    x = make_inputs(**GRAPHED, tokens=tokens)
    slopes = torch.full((2,), slope, device="cuda")
    graph, found, do, run = capture(x, slopes)
    for seed in (1, 2):
        with torch.no_grad():
            for target, source in zip([*x.differentiable, do], draw([*x.differentiable, do], seed), strict=True):
                target.copy_(source)
        graph.replay()
        for a, b in zip(found, run(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.gpu
def test_a_cuda_graph_outlives_what_calls_keep():
    x = make_inputs(**GRAPHED, tokens=20000)
    slopes = torch.full((2,), 0.5, device="cuda")
    graph, found, _, run = capture(x, slopes)
    graph.replay()
    wanted = [y.clone() for y in found]
    slopes.mul_(1.0)  # changed, for all that calls know: what they keep is made anew and the old memory reused
    run()
    torch.cuda.synchronize()
    filled = [torch.full((200, 4), 2**30, dtype=torch.int32, device="cuda") for _ in range(1000)]
    graph.replay()
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a, b)
    del filled


@pytest.mark.gpu
def test_replays_a_cuda_graph_with_slower_decay():
    x = make_inputs(**GRAPHED, tokens=20000)
    slopes = torch.full((2,), 0.5, device="cuda")
    graph, found, _, run = capture(x, slopes)
    slopes.fill_(1e-4)
    graph.replay()
    for a, b in zip(found, run(), strict=True):
        assert relative_rms(a, b) < 2e-3 or b.norm() == 0


@pytest.mark.parametrize("mixed", [False, True])
def test_autocast_casts_q_k_v_alone(device, mixed):
    x = make_inputs(device, f32, tokens=20)
    if mixed:
        x.k = x.k.detach().to(f16).requires_grad_()
    rounded = [t.detach().to(f16).requires_grad_() for t in (x.q, x.k, x.v)]
    state = x.initial_state.detach().requires_grad_()
    wanted = lightning_attention(*rounded, x.slopes, initial_state=state, output_final_state=True)
    with torch.autocast(device.type, dtype=f16):
        outputs = lightning_attention(*x.sequence, initial_state=x.initial_state, output_final_state=True)
    assert [o.dtype for o in outputs] == [f16, f32]
    upstream = draw(outputs)
    found = gradients(outputs, x.differentiable, upstream)
    assert [g.dtype for g in found] == [t.dtype for t in x.differentiable]
    expected = gradients(wanted, [*rounded, state], upstream)
    for a, b in zip((*outputs, *found), (*wanted, *expected), strict=True):
        assert torch.equal(a, b.to(a.dtype))


def test_autocast_that_is_off_or_elsewhere_casts_nothing(device):
    x = make_inputs(device, f32, tokens=3)
    with torch.autocast(device.type, dtype=f16), torch.autocast(device.type, enabled=False):
        assert lightning_attention(*x.sequence)[0].dtype is f32
    if device.type == "cuda":
        with torch.autocast("cpu", dtype=f16):
            assert lightning_attention(*x.sequence)[0].dtype is f32


@pytest.mark.usefixtures("fresh_compiler")
def test_autocast_under_compile(device):
    x = make_inputs(device, f32, tokens=20)
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    for enabled, dtype in ((True, f16), (False, f32)):
        with torch.autocast(device.type, dtype=f16, enabled=enabled):
            outputs, wanted = compiled(x), call(x)
        assert outputs[0].dtype is dtype
        upstream = draw(wanted)
        pairs = [(*o, *gradients(o, x.differentiable, upstream)) for o in (outputs, wanted)]
        for a, b in zip(*pairs, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dims", [(17, 16), (18, 33), (24, 17), (20, 36)])
@pytest.mark.parametrize("packed", [False, True])
def test_dims_that_are_padded(device, dtype, dims, packed):
    tokens = 70
    x = make_inputs(device, dtype, tokens=tokens, dim=dims[0], dim_out=dims[1], states=2 if packed else 1)
    cu_seqlens = torch.tensor([0, 30, tokens], device=device) if packed else None
    outputs = call(x, cu_seqlens=cu_seqlens)
    assert all(o.is_contiguous() for o in outputs)
    expected = [
        recurrence(
            *(t[:, begin:end] for t in (x.q, x.k, x.v)),
            x.slopes,
            scale=0.6,
            initial_state=x.initial_state[n : n + 1],
        )
        for n, (begin, end) in enumerate([(0, 30), (30, tokens)] if packed else [(0, tokens)])
    ]
    expected = [torch.cat([o for o, _ in expected], 1), torch.cat([final for _, final in expected])]
    upstream = draw(outputs)
    found = gradients(outputs, x.differentiable, upstream)
    wanted = gradients(expected, x.differentiable, upstream)
    for a, b in zip(outputs, expected, strict=True):
        assert a.shape == b.shape
        assert relative_rms(a, b) < LIMITS[dtype][0]
    for a, b in zip(found, wanted, strict=True):
        assert relative_rms(a, b) < LIMITS[dtype][1]


def test_kernels_get_no_rows_off_four_bytes(device, monkeypatch):
    from lightning_attention import autograd

    seen = []
    launch = autograd.launch_walk

    def record(q, k, v, *args, **kwargs):
        seen.extend((q.shape[-1], v.shape[-1]))
        return launch(q, k, v, *args, **kwargs)

    monkeypatch.setattr(autograd, "launch_walk", record)
    x = make_inputs(device, f16, tokens=3, dim=17, dim_out=20)
    outputs = call(x)
    gradients(outputs, x.differentiable, outputs)
    assert set(seen) == {24}


@pytest.mark.parametrize("how", ["no_grad", "inference_mode", "nothing requires a gradient"])
def test_without_gradients_autograd_is_not_entered(device, monkeypatch, how):
    from lightning_attention import autograd

    monkeypatch.setattr(
        autograd.LightningAttention, "apply", lambda *_: pytest.fail("entered autograd without need")
    )
    x = make_inputs(device, f32, tokens=3)
    if how == "nothing requires a gradient":
        o, final = call(detached(x))
    else:
        with getattr(torch, how)():
            o, final = call(x)
    assert not o.requires_grad
    assert not final.requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_any_input_can_ask_for_a_gradient(device, name):
    x = detached(make_inputs(device, f32, tokens=3))
    getattr(x, name).requires_grad_()
    assert all(o.requires_grad for o in call(x))
