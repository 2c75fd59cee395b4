"""The memory ledger of a case, taken in a pass of its own apart from the timing.

What is saved for backward is the allocator's difference over the forward, not what saved-tensor hooks are
shown: hooks count inputs that are kept anyway, and miss what a library stores beside autograd's own list.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

RESULTS = ("o", "state")
"""Outputs of a pass; every other tensor it makes is a gradient."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a call did to the memory, in bytes beyond what was alive before it."""

    peak: int
    alive: int
    """Still alive at its end."""
    slack: int = 0
    reserved: int = 0
    """The most that torch held from the device, absolute."""


def take_ledger(work: Any, device: str) -> tuple[Any, dict[str, int]]:
    """Calls a workload once: what it returned, and bytes by what they were for.

    inputs, outputs, gradients; saved (kept by autograd between forward and backward beyond inputs and
    outputs); peak (beyond what was alive before the call); workspace (of the peak, what is neither result nor
    saved); on a GPU also reserved (the most that torch held), slack (reserved, less the tensors at their
    peak) and device (used on the whole card, as its driver says: context and other processes included).
    """
    given = [*work.inputs.tensors.values(), *work.inputs.constants.values()]
    if work.output_gradient is not None:
        given.append(work.output_gradient)
    if device.startswith("cuda"):
        give_back()
    saved = 0
    if work.forward is None:
        result, use = watched(work.call, device)
    else:
        values, forward = watched(work.forward, device)
        saved = max(forward.alive - _storage_bytes(values), 0)
        if work.case.pass_name == "bwd":
            # The graph that is timed was made before: its own memory is no part of the pass.
            del values
            result, use = watched(work.call, device)
        else:
            result, backward = watched(lambda: work.backward(values), device)
            use = joined(forward, backward)
    ledger = {"inputs": _bytes(given), **_made(work.outputs(result)), "saved": saved, "peak": use.peak}
    of_this_pass = ledger["gradients"]
    if work.case.pass_name != "bwd":
        of_this_pass += ledger["outputs"] + saved
    ledger["workspace"] = max(use.peak - of_this_pass, 0)
    if device.startswith("cuda"):
        ledger |= {"slack": use.slack, "reserved": use.reserved, "device": device_bytes(device)}
    return result, ledger


def watched(call: Callable[[], Any], device: str) -> tuple[Any, Use]:
    """Calls: what it returned, and what it did to the memory."""
    return _watched_cuda(call) if device.startswith("cuda") else _watched_cpu(call)


def slows_calls(device: str) -> bool:
    """Whether a call takes longer where its memory is watched: a profiler does it on a CPU."""
    return not device.startswith("cuda")


def _watched_cuda(call: Callable[[], Any]) -> tuple[Any, Use]:
    import torch

    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    result = call()
    torch.cuda.synchronize()
    peak, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    alive = torch.cuda.memory_allocated() - before
    return result, Use(peak=peak - before, alive=alive, slack=reserved - peak, reserved=reserved)


def _watched_cpu(call: Callable[[], Any]) -> tuple[Any, Use]:
    # torch keeps no peak of its CPU allocations, but its profiler reports each of them. This is the profiler
    # below `torch.profiler.profile`, which would import the whole of inductor: seconds in every worker.
    from torch.autograd.profiler import profile as profiled

    with profiled(use_kineto=True, profile_memory=True) as profile:
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
    return result, Use(peak=peak, alive=alive)


def joined(first: Use, second: Use) -> Use:
    """Two calls, the second with what the first left alive, as one."""
    reserved = max(first.reserved, second.reserved)
    return Use(
        peak=max(first.peak, first.alive + second.peak),
        alive=first.alive + second.alive,
        slack=min(reserved - one.reserved + one.slack for one in (first, second)),
        reserved=reserved,
    )


def _made(outputs: Mapping[str, Tensor]) -> dict[str, int]:
    return {
        "outputs": _bytes(tensor for name, tensor in outputs.items() if name in RESULTS),
        "gradients": _bytes(tensor for name, tensor in outputs.items() if name not in RESULTS),
    }


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _storage_bytes(values: Iterable[Any]) -> int:
    """Of the tensors among what a function returned: a state that was not asked for is None."""
    import torch

    storages = [value.untyped_storage() for value in values if isinstance(value, torch.Tensor)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def give_back() -> None:
    """Empties the cache: what earlier calls left in the allocator's cache is no memory of this pass."""
    import torch

    torch.cuda.synchronize()
    torch.cuda.empty_cache()


def free_segments(device: str) -> tuple[int, ...]:
    """Sizes of the segments that torch's allocator keeps though nothing lies in them; none on a CPU."""
    if not device.startswith("cuda"):
        return ()
    import torch

    index = torch.device(device).index or 0
    return tuple(
        segment["total_size"]
        for segment in torch.cuda.memory_snapshot()
        if segment["device"] == index
        and segment["segment_type"] == "large"
        and all(block["state"] == "inactive" for block in segment["blocks"])
    )


def reserve(segments: Sequence[int], device: str) -> None:
    """Has torch's allocator take such segments, so that a call need not wait for the driver to give them."""
    import torch

    held = []
    with suppress(torch.cuda.OutOfMemoryError):
        for size in sorted(segments, reverse=True):
            held.append(torch.empty(size, dtype=torch.uint8, device=device))


def device_bytes(device: str) -> int:
    """Memory in use on the whole card, by its driver's reading."""
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return total - free
