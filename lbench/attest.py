"""What ran, and whether it runs the same twice: kernels of one call, and tensors compared bit by bit."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lbench import backends
from lbench.backends.spec import Backend
from lbench.poison import poisoned

if TYPE_CHECKING:
    from torch import Tensor

PIECE = 1 << 22
"""Elements that a digest works on at once."""
LONGEST_NAME = 300
"""Characters of a kernel's name that are kept: templates of some run to thousands."""
SHOWN = 4


Kernels = tuple[dict[str, Any], ...]
"""GPU kernels as {name, count}, the most frequent first, without copies and fills."""


@contextlib.contextmanager
def kernels_seen(device: str) -> Iterator[list[dict[str, Any]]]:
    """A list that holds, once it is left, the GPU kernels of what was called within.

    Empty on a CPU, and where the profiler sees no kernel (another tool holds CUPTI).
    """
    found: list[dict[str, Any]] = []
    if not device.startswith("cuda"):
        yield found
        return
    import torch

    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        yield found
        torch.cuda.synchronize()
    names = Counter(
        name[:LONGEST_NAME] for name in _on_gpu(profile) if not name.startswith(("Memcpy", "Memset"))
    )
    found += ({"name": name, "count": count} for name, count in names.most_common())


def _on_gpu(profile: Any) -> Iterator[str]:
    """Names of what a profile saw on the GPU."""
    import torch

    gpu = torch.autograd.DeviceType.CUDA
    raw = getattr(profile.profiler, "kineto_results", None)
    if raw is None:
        yield from (event.name for event in profile.events() if event.device_type == gpu)
    else:  # of calls with 50,000 kernels torch takes a second to make events that say more than is asked
        yield from (event.name() for event in raw.events() if event.device_type() == gpu)


def kernels_of(call: Callable[[], Any], device: str) -> Kernels:
    """The GPU kernels of one call. Nothing is called where there is no GPU."""
    if not device.startswith("cuda"):
        return ()
    with kernels_seen(device) as found:
        call()
    return tuple(found)


def what_ran(work: Any, device: str, seen: Kernels = ()) -> tuple[Kernels, str]:
    """The GPU kernels of one call of a workload, and why they are not its backend's; empty where they are.

    `seen` are those of a call that was made for another purpose too: then none is made for this one.
    """
    kernels = seen or kernels_of(work.call, device)
    reason = unexpected(work.backend, kernels, work.case.pass_name)
    if reason:  # a profiler that has just been attached may miss the first kernels
        kernels = kernels_of(work.call, device)
        reason = unexpected(work.backend, kernels, work.case.pass_name)
    return kernels, reason


def unexpected(backend: Backend, kernels: Sequence[Mapping[str, Any]], pass_name: str) -> str:
    """Why these are not the kernels that the backend names for a pass; empty where they are.

    Every pattern must be found in the name of a kernel that ran; further kernels (copies, sums) may run too.
    Empty as well where nothing was seen or the backend names nothing.
    """
    names = [str(kernel["name"]) for kernel in kernels]
    if not names:
        return ""
    for pattern in backend.expected_kernels(_KERNELS_OF.get(pass_name, pass_name)):
        if not any(_is_named(name, [pattern]) for name in names):
            ran = ", ".join(_short(name) for name in names[:SHOWN])
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            return f"fallback: no kernel is named like {pattern!r}; ran {ran}{more}"
    return ""


def strangers(backend: Backend, kernels: Sequence[Mapping[str, Any]]) -> str:
    """A kernel that another backend of the mechanism names and this one does not; empty where none ran.

    The kernels that a backend names may have had help of another implementation's.
    """
    own = [pattern for patterns in backend.kernels.values() for pattern in patterns]
    if not own:
        return ""
    for other in backends.of_mechanism(backend.mechanism):
        foreign = [pattern for patterns in other.kernels.values() for pattern in patterns]
        for kernel in kernels:
            name = str(kernel["name"])
            if _is_named(name, foreign) and not _is_named(name, own):
                return f"{_short(name)} ran too, a kernel of {other.name}"
    return ""


def _is_named(name: str, patterns: Sequence[str]) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)


@dataclass(frozen=True)
class Again:
    """A workload called once more."""

    outputs: dict[str, Tensor]
    """Canonical, as `Workload.outputs` gives them."""
    digest: dict[str, str]
    """Of these outputs."""
    deterministic: bool
    """Whether they are those of the call before, bit by bit."""
    call_s: float
    """How long the call took, device work included."""
    watched: Any = None
    """What entering `seen` gave."""


def call_again(
    work: Any,
    before: Mapping[str, str],
    device: str,
    seen: contextlib.AbstractContextManager[Any] | None = None,
) -> Again:
    """Calls a workload into poisoned memory; `before` is the digest of what an earlier call returned.

    A digest stands for those tensors, so that two results need not fit into memory. The call is made within
    `seen`, where something is to watch it.
    """
    with poisoned(device), seen or contextlib.nullcontext() as watched:
        started = time.perf_counter()
        outputs = work.outputs(work.call())
        if device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()
        call_s = time.perf_counter() - started
    found = digest(outputs)
    return Again(outputs, found, found == before, call_s, watched)


def inputs_id(work: Any) -> str:
    """A short id of all a workload is called with: equal for backends that were given the same inputs."""
    given = {**work.inputs.tensors, **work.inputs.constants}
    if work.output_gradient is not None:
        given["do"] = work.output_gradient
    lines = [f"{name} {value}" for name, value in sorted(digest(given).items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def digest(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """128 bits for the content of every tensor, read in pieces where it lies: equal bits, equal digests."""
    import torch

    whole = {torch.int8: 1, torch.int16: 2, torch.int32: 4, torch.int64: 8}
    integer = {size: dtype for dtype, size in whole.items()}
    return {
        name: _digest(tensor.detach(), integer[tensor.element_size()]) for name, tensor in tensors.items()
    }


def _digest(tensor: Tensor, integer: Any) -> str:
    import torch

    # Two sums of the bits, each bit pattern times an odd weight of its place, modulo 2^64.
    total = torch.zeros(2, dtype=torch.int64, device=tensor.device)
    place = 0
    for part in pieces(tensor):
        bits = part.contiguous().view(integer).flatten().to(torch.int64)
        index = torch.arange(place, place + bits.numel(), device=tensor.device)
        place += bits.numel()
        for row, factor in enumerate((-7046029254386353131, -4417276706812531889)):
            weights = (index * factor + 1442695040888963407) | 1
            weights = (weights ^ (weights >> 29)) * factor | 1
            total[row] += (bits * weights).sum()
    return "".join(f"{value & (2**64 - 1):016x}" for value in total.tolist())


def pieces(tensor: Tensor) -> Sequence[Tensor]:
    """The tensor cut along its longest axis into pieces of about `PIECE` elements."""
    if tensor.numel() <= PIECE or not tensor.ndim:
        return (tensor,)
    axis = max(range(tensor.ndim), key=lambda dim: tensor.shape[dim])
    rows = max(tensor.shape[axis] * PIECE // tensor.numel(), 1)
    parts: tuple[Tensor, ...] = tensor.split(rows, axis)
    return parts


_KERNELS_OF = {"train": "fwdbwd", "prefill": "fwd"}
"""Passes of models, and the mixer's pass whose kernels must run in them."""


def _short(name: str) -> str:
    """A kernel's name without return type, template arguments and parameters."""
    bare = re.split(r"[<(]", name.removeprefix("void "), maxsplit=1)[0].strip() or name
    return bare if len(bare) <= 60 else bare[:59] + "\u2026"
