"""Rows for tests that need some."""

from __future__ import annotations

from typing import Any

from lbench.case import Case
from lbench.results import Row


def make_row(verdict: str = "ok", time_ms: float = 1.0, memory_bytes: int = 2**20, **fields: Any) -> Row:
    case = Case(**{"backend": "lightning_eager", "mechanism": "lightning", "device": "cpu", **fields})
    ok = verdict == "ok"
    return Row(
        case=case,
        suite="test",
        run="r1",
        started_at="2026-01-01T00:00:00Z",
        verdict=verdict,
        reason="" if ok else "because",
        times_ms=tuple(time_ms * (1 + 0.001 * i) for i in range(10)) if ok else (),
        enqueue_us=(5.0,) if ok else (),
        first_call_s=1.0,
        verify_s=0.1,
        memory={"inputs": 2**20, "outputs": 2**19, "gradients": 0, "peak": memory_bytes} if ok else {},
        errors={"o": {"rms": 1e-3, "block": 2e-3}, "dq": {"rms": 3e-3, "block": 4e-3}} if ok else {},
    )
