"""Peak memory of one call, in a pass of its own apart from the timing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def peak_bytes(call: Callable[[], Any], device: str) -> tuple[Any, int]:
    """Runs `call` once; its result, and the most bytes of tensors alive during it beyond those before it."""
    return _cuda_peak(call) if device.startswith("cuda") else _cpu_peak(call)


def _cuda_peak(call: Callable[[], Any]) -> tuple[Any, int]:
    import torch

    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    result = call()
    torch.cuda.synchronize()
    return result, torch.cuda.max_memory_allocated() - before


def _cpu_peak(call: Callable[[], Any]) -> tuple[Any, int]:
    # torch keeps no peak of its CPU allocations, but its profiler reports each of them.
    import torch

    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        result = call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    changes.sort(key=lambda event: event["ts"])
    alive = peak = 0
    for event in changes:
        alive += event["args"]["Bytes"]
        peak = max(peak, alive)
    return result, peak
