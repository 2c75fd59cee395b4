"""`lbench profile` on a GPU: every part comes about or says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lbench.profiling import folder
from lbench.profiling.analysis import analyse
from lbench.profiling.kinds import Kind
from lbench.profiling.rest import HOST_GAP

KEY = "lightning_triton,fwdbwd,b1,t16384,h16,d128,bf16,cuda"


@pytest.mark.gpu
@pytest.mark.alone
def test_our_kernels_with_every_part(tmp_path: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    out = tmp_path / "profile"
    code, shown, error = cli("profile", KEY, "--ncu", "--memory", "--triton", "--out", out)
    assert code == 0, error
    one = analyse(folder.read(out))
    assert one.on_gpu, shown
    assert one.rest is not None
    assert one.time_ms is not None
    assert sum(kernel.share for kernel in one.kernels) == pytest.approx(1.0)
    assert sum(one.rest.parts_ms.values()) == pytest.approx(one.rest.span_ms)
    own = [kernel for kernel in one.kernels if kernel.kind == Kind.COMPUTE]
    assert all(kernel.registers and kernel.blocks and kernel.occupancy for kernel in own)
    # The device has its work ahead of it, as when it is timed.
    assert one.rest.shares[HOST_GAP] < 0.05
    assert one.rest.span_ms == pytest.approx(one.time_ms, rel=0.15)
    assert one.peak is not None
    assert one.peak.sites
    assert {kernel.name for kernel in one.compiled} >= {"hopper_walk_kernel"} or one.compiled
    assert all(kernel.registers is not None and kernel.source for kernel in one.compiled)
    assert one.counted or "ncu" in one.missing
    for counted in one.counted:
        assert counted.longest.dram_bytes, counted.longest.metrics.keys()
        assert counted.bound.startswith("bound by")
    assert set(one.missing) <= {"ncu"}
