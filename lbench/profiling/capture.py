"""Runs tools around a workload that has been verified, in its worker, and keeps what they wrote as it is.

Every part is guarded: one that fails says why, and the others go on.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from lbench.profiling import allocations, compiled
from lbench.profiling.folder import MEMORY, SNAPSHOT, TRACE, TRITON
from lbench.profiling.occupancy import card_of
from lbench.profiling.trace import MARK

CALLS = 5
SLOW_S = 0.05
"""A call that takes longer is recorded and timed twice only, which is enough for a table."""
PERSONAL = ("host_name", "traceName", "distributedInfo")
"""Fields of a trace that no table needs."""


def keep_tuning() -> None:
    """Lets Triton keep on the disk what autotuning finds, so that ncu's process need not search again."""
    os.environ.setdefault("TRITON_CACHE_AUTOTUNING", "1")


def record(
    work: Any, device: str, folder: Path, call_s: float, enqueue_s: float, wanted: Collection[str]
) -> dict[str, Any]:
    """Fills a folder; the fields of its document, `parts` among them: part -> why it is missing, or empty."""
    from lbench.clock import clock_of

    clock = clock_of(device)
    clock.prepare(enqueue_s)
    count = CALLS if call_s < SLOW_S else 2
    times_ms = [reading.time_ms for reading in clock.read(work.call, count)]
    clock.wait()
    found: dict[str, Any] = {"calls": count, "times_ms": times_ms, "card": card_of(device)}
    parts = {"trace": _guarded(lambda: _trace(work, clock, device, folder / TRACE, count))}
    facts: dict[str, Any] = {}
    parts["facts"] = _guarded(lambda: facts.update(facts_of(work, device)))
    parts["count of products"] = _guarded(lambda: facts.update(_products(work)))
    if device.startswith("cuda"):
        parts["triton"] = _guarded(lambda: compiled.keep(work, folder / TRITON, "triton" in wanted))
    elif "triton" in wanted:
        parts["triton"] = "Triton kernels run on a GPU; this is a CPU"
    if "memory" in wanted:
        parts["memory"] = _guarded(lambda: _allocations(work, device, folder))
    return found | {"facts": facts, "parts": parts}


def facts_of(work: Any, device: str) -> dict[str, Any]:
    """What a trace does not show: tensors saved for a backward, and the size of the L2."""
    import torch

    saved = 0

    def pack(tensor: Any) -> Any:
        nonlocal saved
        saved += 1
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = work.call()
    outputs = result[0] if isinstance(result, tuple) else result
    facts = {
        "gradients_wanted": work.case.pass_name in ("bwd", "fwdbwd"),
        "saved_tensors": saved,
        "requires_grad": any(getattr(tensor, "requires_grad", False) for tensor in outputs),
    }
    if device.startswith("cuda"):
        from lbench.clock import l2_bytes

        facts["l2_bytes"] = l2_bytes(device)
    return facts


def _products(work: Any) -> dict[str, Any]:
    """FLOPs of the matrix products that torch was asked for; it does not see those of other kernels."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work.call()
    total = counter.get_total_flops()
    return {"counted_flops": float(total)} if total else {}


def _guarded(part: Callable[[], Any]) -> str:
    try:
        part()
    except Exception as error:  # a tool that fails costs its own part alone, and says why
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    return ""


def _trace(work: Any, clock: Any, device: str, path: Path, count: int) -> None:
    """The calls as they are timed: caches cold before each, the host ahead of a GPU."""
    from torch.profiler import ProfilerActivity, profile, record_function

    def marked() -> Any:
        with record_function(MARK):
            return work.call()

    activities = [ProfilerActivity.CPU]
    if device.startswith("cuda"):
        activities.append(ProfilerActivity.CUDA)
    clock.read(marked, 1)
    with _quiet(), profile(activities=activities, record_shapes=True, profile_memory=True) as profiler:
        clock.read(marked, count)
        clock.wait()
    _export(profiler, path)


def _allocations(work: Any, device: str, folder: Path) -> None:
    if device.startswith("cuda"):
        events = allocations.of_cuda(work.call, device, folder / SNAPSHOT)
    else:
        from torch.profiler import ProfilerActivity, profile, record_function

        path = folder / "memory-trace.json.gz"
        with (
            _quiet(),
            profile(activities=[ProfilerActivity.CPU], profile_memory=True, with_stack=True) as profiler,
            record_function(MARK),
        ):
            result = work.call()
        del result
        _export(profiler, path)
        events = allocations.of_trace(path)
        path.unlink()
    with gzip.open(folder / MEMORY, "wt", encoding="utf-8") as file:
        json.dump(events, file)


def _export(profiler: Any, path: Path) -> None:
    """Writes a trace, packed, without what names the machine or the user."""
    raw = path.with_name("raw.json")
    profiler.export_chrome_trace(str(raw))
    content = json.loads(raw.read_text())
    raw.unlink()
    for name in PERSONAL:
        content.pop(name, None)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump(content, file)


def _quiet() -> contextlib.AbstractContextManager[Any]:
    """torch tells of cycles it dropped; a table of one window has none."""
    import warnings

    caught = warnings.catch_warnings()
    warnings.simplefilter("ignore")
    return caught
