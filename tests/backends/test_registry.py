"""Every registered backend keeps the contract; peers are called as they document themselves."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import subprocess
import sys
import types
from pathlib import Path

import pytest
import stand_ins
import torch

from lbench import backends, mechanisms, workload
from lbench.backends import _fla
from lbench.backends.spec import Unsupported
from lbench.case import DEVICES, DTYPES, PASSES, Case
from lbench.errors import UsageError
from lbench.mechanisms.spec import shape

NAMES = backends.names()
PEERS = [name for name in NAMES if not name.endswith("_eager")]


def make_case(name: str, pass_name: str = "fwdbwd", **fields: object) -> Case:
    given = {"batch": 2, "seq_len": 37, "heads": 4, "head_dim": 16, "dtype": "fp32", "device": "cpu"} | fields
    return Case(backend=name, mechanism=backends.load(name).mechanism, pass_name=pass_name, **given)


def worst_error(case: Case) -> float:
    """The largest relative RMS of what a case returns against its mechanism's reference."""
    work = workload.build(case, "cpu")
    got = work.outputs(work.call())
    truth = work.mechanism.reference(case, work.inputs, work.output_gradient)
    worst = 0.0
    for part in truth:
        difference = got[part.name][part.index].detach().double() - part.values.double()
        scale = part.values.double().square().mean().clamp_min(1e-30)
        worst = max(worst, (difference.square().mean() / scale).sqrt().item())
    return worst


@pytest.mark.parametrize("name", NAMES)
def test_declares_what_exists(name: str) -> None:
    backend = backends.load(name)
    assert backend.name == name
    assert backend.mechanism in mechanisms.names()
    for given, known in (
        (backend.limits.passes, PASSES),
        (backend.limits.dtypes, DTYPES),
        (backend.limits.devices, DEVICES),
    ):
        assert given
        assert set(given) <= set(known)


def test_titles_tell_backends_apart() -> None:
    titles = [backends.load(name).title for name in NAMES]
    assert len(set(titles)) == len(titles)


def test_every_mechanism_has_a_backend_on_the_cpu() -> None:
    for mechanism in mechanisms.names():
        assert any("cpu" in backend.limits.devices for backend in backends.of_mechanism(mechanism))


def test_an_unknown_backend_names_the_near_ones() -> None:
    with pytest.raises(UsageError, match="lightning_triton"):
        backends.load("lightning_tritn")


def test_registry_imports_neither_torch_nor_peers() -> None:
    heavy = {"torch", "triton", *(name.partition(".")[0] for name in stand_ins.MODULES)}
    code = (
        "import sys; from lbench import backends\n"
        "for name in backends.names(): backends.missing_package(backends.load(name))\n"
        f"print(*sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", NAMES)
def test_layout_is_dense_and_restores_itself(name: str) -> None:
    backend = backends.load(name)
    mechanism = mechanisms.load(backend.mechanism)
    for pass_name in backend.limits.passes:
        case = make_case(name, pass_name)
        tensors = mechanism.decode_tensors if pass_name == "decode" else mechanism.tensors
        for tensor_name, dims in {**tensors, "o": "bthe"}.items():
            canonical = torch.randn(shape(dims, case))
            arranged = backend.layout.arrange(tensor_name, canonical)
            assert arranged.is_contiguous()
            assert torch.equal(backend.layout.restore(tensor_name, arranged), canonical)


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, functions in stand_ins.MODULES.items():
        stand_ins.install(monkeypatch, module, **functions)
    for name, value in _fla.SWITCHES.items():
        monkeypatch.setenv(name, value)  # so that they end with the test


CALLED = [name for name in PEERS if not name.startswith(("sdpa", "flex"))]


@pytest.mark.usefixtures("peers")
@pytest.mark.parametrize("name", CALLED)
def test_a_peer_as_documented_is_its_mechanism(name: str) -> None:
    assert worst_error(make_case(name, "fwdbwd")) < 1e-5


@pytest.mark.usefixtures("peers")
@pytest.mark.parametrize("name", [n for n in CALLED if "decode" in backends.load(n).limits.passes])
def test_a_peers_decoding_step_is_its_mechanisms(name: str) -> None:
    assert worst_error(make_case(name, "decode")) < 1e-5


@pytest.mark.usefixtures("peers")
@pytest.mark.parametrize("name", [n for n in CALLED if not backends.load(n).limits.equal_head_dims])
def test_unequal_head_dims_reach_a_peer(name: str) -> None:
    assert worst_error(make_case(name, "fwdbwd", head_dim_v=24)) < 1e-5


@pytest.mark.usefixtures("peers")
@pytest.mark.parametrize(("name", "forced"), [("lightning_plain", ["plain"]), ("lightning_triton", [])])
def test_only_plain_lightning_forces_a_path(
    name: str, forced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def call(*tensors: torch.Tensor, scale: float) -> tuple[torch.Tensor, None]:
        seen.append(list(stand_ins.FORCED))
        return stand_ins.lightning_attention(*tensors, scale=scale)

    monkeypatch.setattr(sys.modules["lightning_attention"], "lightning_attention", call)
    assert worst_error(make_case(name)) < 1e-5
    assert seen == [forced]
    assert stand_ins.FORCED == []


@pytest.mark.parametrize("name", ["sdpa_math", "sdpa_flash"])
@pytest.mark.parametrize("pass_name", PASSES)
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_pinned_sdpa_on_the_cpu(name: str, pass_name: str, kv_heads: int) -> None:
    assert worst_error(make_case(name, pass_name, kv_heads=kv_heads)) < 1e-5


def test_sdpa_that_is_not_there_is_unsupported_and_leaves_the_switches() -> None:
    from torch.backends import cuda

    with pytest.raises(Unsupported):
        backends.load("sdpa_efficient").build(make_case("sdpa_efficient"), {})
    assert cuda.flash_sdp_enabled()
    assert cuda.mem_efficient_sdp_enabled()
    assert cuda.math_sdp_enabled()
    assert cuda.cudnn_sdp_enabled()


def test_sdpa_says_why_it_cannot() -> None:
    case = make_case("sdpa_flash", "fwd", head_dim_v=32)
    with pytest.raises(Unsupported, match="same last dimension"):
        backends.load("sdpa_flash").build(case, {})


@pytest.mark.parametrize("seq_len", [1, 127, 128, 129, 1000])
def test_the_block_mask_is_the_one_torch_would_make(seq_len: int) -> None:
    from torch.nn.attention.flex_attention import create_block_mask

    from lbench.backends.flex_attention import causal_block_mask

    made = causal_block_mask(seq_len, "cpu")
    wanted = create_block_mask(lambda b, h, i, j: i >= j, None, None, seq_len, seq_len, device="cpu")
    assert made.shape == wanted.shape
    for field in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        assert torch.equal(getattr(made, field).int(), getattr(wanted, field).int())
    assert torch.equal(made.to_dense(), wanted.to_dense())


@pytest.mark.parametrize(
    ("compiled", "fits"), [((64, 128), False), ((128, 192), True), ((128, 256), True), ((), True)]
)
def test_flash_attn_without_large_kernels_says_so(
    tmp_path: Path, compiled: tuple[int, ...], fits: bool
) -> None:
    from lbench.backends.flash_attn2 import _check_compiled

    library = tmp_path / "flash_attn_2_cuda.so"
    library.write_bytes(
        b"\x7fELF" + b"".join(b"_23Flash_fwd_kernel_traitsILi%dELi64E\0" % dim for dim in compiled)
    )
    _check_compiled(library, 128)
    if fits:
        _check_compiled(library, 192)
    else:
        with pytest.raises(Unsupported, match="up to 128"):
            _check_compiled(library, 192)


def test_fla_is_imported_with_its_switches_pinned(tmp_path: Path) -> None:
    from lbench.backends._fla import SWITCHES

    folder = tmp_path / "fla" / "ops"
    folder.mkdir(parents=True)
    (tmp_path / "fla" / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "gla.py").write_text("import os\nSEEN = dict(os.environ)\ndef chunk_gla(): return SEEN\n")
    code = (
        "from lbench.backends import _fla\nseen = _fla.load('gla.chunk_gla')()\n"
        "print(*(seen[name] for name in _fla.SWITCHES))"
    )
    environment = {"PYTHONPATH": str(tmp_path), "FLA_USE_TMA": "1", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == list((SWITCHES | {"FLA_USE_TMA": "1"}).values())


@pytest.mark.parametrize(
    ("installed", "passes"),
    [
        ("flash_attn_interface", "fwd bwd fwdbwd decode"),
        ("fa3_fwd_interface", "fwd decode"),
        ("", "fwd decode"),
    ],
)
def test_flash_attn3_limits_follow_what_is_installed(tmp_path: Path, installed: str, passes: str) -> None:
    if installed:
        (tmp_path / f"{installed}.py").write_text("raise SystemError('must not be imported')")
    code = (
        "from lbench import backends\nb = backends.load('flash_attn3')\n"
        "print(*b.limits.passes, backends.missing_package(b))"
    )
    environment = {"PYTHONPATH": str(tmp_path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == f"{passes} {None if installed else 'fa3_fwd_interface'}"


def test_a_module_within_a_package_is_looked_for_without_importing_it(tmp_path: Path) -> None:
    outer = tmp_path / "flash_attn"
    code = "from lbench import backends\nprint(backends.missing_package(backends.load('flash_attn4')))"

    def missing() -> str:
        environment = {"PYTHONPATH": str(tmp_path), "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        return done.stdout.strip()

    assert missing() == "flash_attn.cute.flash_bwd_sm90"
    outer.mkdir()
    (outer / "__init__.py").write_text("raise SystemError('must not be imported')")
    assert missing() == "flash_attn.cute.flash_bwd_sm90"
    (outer / "cute").mkdir()
    (outer / "cute" / "interface.py").touch()  # as an early one that comes with FlashAttention-2
    assert missing() == "flash_attn.cute.flash_bwd_sm90"
    (outer / "cute" / "flash_bwd_sm90.py").touch()
    assert missing() == "None"


@pytest.mark.usefixtures("peers")
@pytest.mark.parametrize(
    ("head_dim", "capability", "said"),
    [(12, (9, 0), "multiples of 8"), (192, (10, 0), "on Hopper only"), (256, (9, 0), ""), (128, (10, 0), "")],
)
def test_flash_attn4_refuses_head_dims_without_kernels(
    monkeypatch: pytest.MonkeyPatch, head_dim: int, capability: tuple[int, int], said: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: capability)
    case = dataclasses.replace(make_case("flash_attn4"), head_dim=head_dim, head_dim_v=head_dim)
    with pytest.raises(Unsupported, match=said) if said else contextlib.nullcontext():
        backends.load("flash_attn4").build(case, {})


def test_limits_name_what_is_unmet() -> None:
    limits = backends.load("lightning_authors").limits
    case = dataclasses.replace(
        make_case("lightning_authors", "fwd", dtype="bf16"), device="cuda", head_dim=128
    )
    case = dataclasses.replace(case, head_dim_v=128)
    assert limits.unmet(case, (9, 0)) is None
    assert "head_dim 96" in str(limits.unmet(dataclasses.replace(case, head_dim=96)))
    assert "compute capability 7.5" in str(limits.unmet(case, (7, 5)))
    longest = dataclasses.replace(case, batch=1, seq_len=2**31 // (case.heads * 128))
    assert math.prod((longest.seq_len, longest.heads, longest.head_dim)) == 2**31
    assert limits.unmet(longest) is None
    assert "32-bit" in str(limits.unmet(dataclasses.replace(longest, seq_len=longest.seq_len + 1)))


@pytest.mark.parametrize(
    ("version", "capability", "refused"),
    [
        ("3.6.0", (9, 0), True),
        ("3.7.1", (9, 0), False),
        ("3.3.1", (9, 0), False),
        ("3.6.0+git1", (8, 0), False),
    ],
)
def test_gradients_that_a_compiler_gets_wrong_are_refused_before_tuning(
    monkeypatch: pytest.MonkeyPatch, version: str, capability: tuple[int, int], refused: bool
) -> None:
    monkeypatch.setitem(sys.modules, "triton", types.SimpleNamespace(__version__=version))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: capability)
    if refused:
        with pytest.raises(Unsupported, match="compiled wrongly"):
            _fla.refuse_wrong_gradients()
    else:
        _fla.refuse_wrong_gradients()
