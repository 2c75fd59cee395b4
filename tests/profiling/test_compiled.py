"""What Triton compiled: facts of kept PTX and SASS of a product on Hopper, and of a broken folder."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lbench.profiling import assembly, compiled
from lbench.profiling.show_tools import facts

KEPT = Path(__file__).parent / "kept"


def test_ptx_and_sass_of_one_kernel_agree() -> None:
    """A bf16 product of 64 x 64 x 64, compiled for compute capability 9.0 by Triton 3.9."""
    ptx, sass = ((KEPT / f"dots.{kind}").read_text() for kind in ("ptx", "sass"))
    for counts in (assembly.of_ptx(ptx), assembly.of_sass(sass)):
        assert counts["wgmma"] == 4
        assert counts["load 16 B"] == 8
        assert counts["store 16 B"] == 4
        assert not any(counts[what] for what in ("mma.sync", "TMA load", "cp.async 16 B", "TF32", "atomic"))


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%r1}, {%r2};", "mma.sync"),
        ("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%r1}, {%r2};", "TF32"),
        ("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%r1}, %rd2, %rd3, 1, 1, 1, 0, 0;", "wgmma"),
        ("@%p1 cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1];",
         "TMA load"),
        ("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%rd1, {%r1, %r2}], [%r3];", "TMA store"),
        ("cp.async.cg.shared.global [ %r1 + 0 ], [ %rd1 + 0 ], 0x10, %r2;", "cp.async 16 B"),
        ("ld.global.L1::evict_last.v4.b32 { %r1, %r2, %r3, %r4 }, [ %rd1 + 0 ];", "load 16 B"),
        ("atom.global.gpu.acq_rel.add.f32 %r1, [%rd1], %r2;", "atomic"),
        ("setmaxnreg.inc.sync.aligned.u32 240;", "setmaxnreg"),
    ],
)  # fmt: skip
def test_lines_of_ptx(line: str, what: str) -> None:
    assert assembly.of_ptx(line)[what] == 1
    assert assembly.of_ptx(f"// {line}")[what] == 0
    assert line.startswith("wgmma") or assembly.of_ptx(line)["wgmma"] == 0


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], R24, gsb0;", "wgmma"),
        ("HMMA.1688.F32.TF32 R4, R8, R12, R4;", "mma.sync"),
        ("HMMA.1688.F32.TF32 R4, R8, R12, R4;", "TF32"),
        ("UTMALDG.2D [UR8], [UR4];", "TMA load"),
        ("UTMASTG.2D [UR8], [UR4];", "TMA store"),
        ("LDGSTS.E.BYPASS.128 [R2], [R4.64];", "cp.async 16 B"),
        ("LDG.E.128 R4, [R2.64];", "load 16 B"),
        ("STL.64 [R1+0x8], R4;", "local store (spill)"),
    ],
)
def test_lines_of_sass(line: str, what: str) -> None:
    assert assembly.of_sass(line)[what] == 1


class CompiledKernel:
    """As Triton's, in what is read of it."""

    def __init__(self, name: str, handle: int) -> None:
        self.name, self.function, self.module = name, handle, object()
        self.n_regs, self.n_spills = 168, 0
        self.metadata = SimpleNamespace(num_warps=8, num_stages=3, shared=65536)
        self.src = SimpleNamespace(
            fn=SimpleNamespace(arg_names=["q", "n", "BLOCK"]), constants={(2,): 64, (1,): None}
        )
        self.asm = {
            "ptx": '.file 1 "/home/someone/k.py"\n'
            + (KEPT / "dots.ptx").read_text()
            + "\t.section\t.debug_str"
        }


def test_kernels_that_were_loaded_are_kept_and_read_again(tmp_path: Path) -> None:
    kernel = CompiledKernel("walk_kernel", 7)
    gc.freeze()  # as a worker does, which hides older objects
    compiled.keep(SimpleNamespace(call=lambda: None), tmp_path)
    (one,) = assembly.read(tmp_path)
    assert (one.name, one.registers, one.spills, one.shared_bytes) == ("walk_kernel", 168, 0, 65536)
    assert one.configuration == {"BLOCK": 64, "num_warps": 8, "num_stages": 3}
    assert one.source == "ptx"
    assert not one.tf32
    assert one.has("wgmma")
    assert not one.has("TMA load")
    assert one.shapes == ("m64n64k16 f32 bf16 bf16",)
    assert any("no sass" in problem for problem in one.problems)
    assert facts(one).startswith("wgmma yes (4), mma.sync no, TMA load no")
    text = next(tmp_path.glob("*.ptx")).read_text()
    assert "someone" not in text
    assert ".debug" not in text
    del kernel


def test_a_call_without_triton_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_alive", list)
    with pytest.raises(LookupError, match="no Triton kernel"):
        compiled.keep(SimpleNamespace(call=lambda: None), tmp_path / "triton")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"kernels": 3}', '{"kernels": [{}]}', '{"kernels": [5]}']
)
def test_a_damaged_folder_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / compiled.FILE).write_text(content)
    with pytest.raises(ValueError, match=compiled.FILE):
        assembly.read(tmp_path)


def test_code_that_is_gone_is_told(tmp_path: Path) -> None:
    entry: dict[str, Any] = {"name": "k", "code": {"ptx": "gone.ptx"}}
    (tmp_path / compiled.FILE).write_text(json.dumps({"kernels": [entry]}))
    (one,) = assembly.read(tmp_path)
    assert one.source == ""
    assert one.has("wgmma") is None
    assert "no ptx" in one.problems[0]


def test_only_what_the_call_launched_is_kept(tmp_path: Path) -> None:
    """By Triton's own hook, called as its launcher does; metadata that cannot be computed is let be."""
    from triton import knobs
    from triton.compiler.compiler import LazyDict

    def fails(*_: Any) -> dict[str, Any]:
        raise RuntimeError("no such argument")

    def launch() -> None:
        told = LazyDict({"name": "walk_kernel", "function": 7, "stream": 0})
        told.add(fails, ())
        knobs.runtime.launch_enter_hook(told)

    kernels = [CompiledKernel("walk_kernel", 7), CompiledKernel("tried_by_autotuning", 8)]
    before = list(knobs.runtime.launch_enter_hook.calls)
    compiled.keep(SimpleNamespace(call=launch), tmp_path)
    assert [one.name for one in assembly.read(tmp_path)] == ["walk_kernel"]
    assert knobs.runtime.launch_enter_hook.calls == before
    del kernels
