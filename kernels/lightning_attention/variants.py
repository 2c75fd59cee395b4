"""One compiled variant of a kernel, launched with as little work on the host as can be.

Triton binds, specialises and looks up the arguments of every call anew, which takes longer than all the rest
of a short call. Here every pointer is 16-byte aligned and no size is specialised: what was compiled for one
call serves every call with the same constants on the same device.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import triton
from triton.runtime import driver
from triton.runtime.jit import JITFunction

VERSION = tuple(int(part) for part in triton.__version__.split(".")[:2])
DIRECT = VERSION >= (3, 6)  # compiled kernels take all arguments in order, constants too
REPEATED = VERSION == (3, 6)  # how to reach the launcher in C behind the one that makes descriptors
MOST_REPEATED = 64  # places in memory of one call's tensors

Repeat = Callable[[], None]  # a launch with all its arguments


class Variant:
    """A kernel with its constants, in the order of its signature, and how it is compiled."""

    def __init__(self, kernel: Any, constants: dict[str, Any], **options: int) -> None:
        self._kernel = kernel
        self._constants = constants
        self._values = tuple(constants.values())
        self._options = options
        self._compiled: dict[int | None, Any] = {}
        self._direct = DIRECT and isinstance(kernel, JITFunction)

    def launch(self, num_programs: int, device: torch.device, *args: Any) -> None:
        """Launch on the device, which must be the current one."""
        compiled = self._compiled.get(device.index)
        if compiled is not None:
            if _is_watched():
                compiled[(num_programs, 1, 1)](*args, *self._values)
                return
            stream = driver.active.get_current_stream(device.index)
            launched = (stream, compiled.function, compiled.packed_metadata, None, None, None)
            compiled.run(num_programs, 1, 1, *launched, *args, *self._values)
            return
        compiled = self._kernel[(num_programs,)](*args, **self._constants, **self._options)
        if self._direct:
            self._compiled[device.index] = compiled

    def repeat(self, num_programs: int, device: torch.device, args: tuple[Any, ...]) -> Repeat | None:
        """The launch with these arguments, to be made again; None where it is not known how to.

        It holds the places of tensors, not the tensors.
        """
        compiled = self._compiled.get(device.index)
        if compiled is None or not REPEATED:
            return None
        launcher = compiled.run
        if launcher.global_scratch_size or launcher.profile_scratch_size:
            return None
        try:
            within = inspect.getclosurevars(launcher.launch)
            launch, metas = within.nonlocals["launcher"], iter(within.nonlocals["tensordesc_meta"])
            describe = within.globals["make_tensordesc_arg"]
        except (KeyError, TypeError):  # a build of Triton that has it elsewhere
            return None
        flat: list[Any] = []
        for arg in args:
            if isinstance(arg, torch.Tensor):
                flat.append(arg.data_ptr())
            elif hasattr(arg, "block_shape"):
                flat.extend(describe(arg, next(metas)))
            else:
                flat.append(arg)
        options = (compiled.function, launcher.launch_cooperative_grid, launcher.launch_pdl, None, None)
        behind = (*options, compiled.packed_metadata, None, None, None, *flat, *self._values)
        stream_of = driver.active.get_current_stream
        return lambda: launch(num_programs, 1, 1, stream_of(device.index), *behind)


class Repeats:
    """Launches of a variant that differ in nothing but where some tensors lie.

    For every launch descriptors of the tensors that TMA reads are made, and the driver is asked about every
    pointer. Memory is handed out again and again, so what was made for tensors at one place serves the next
    ones there.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], Repeat | None] = {}

    def launch(
        self,
        variant: Variant,
        num_programs: int,
        moving: tuple[torch.Tensor, ...],
        arguments: Callable[[], tuple[Any, ...]],
    ) -> None:
        """Launch with `arguments()`, which may depend on nothing but where the tensors of `moving` lie."""
        device = moving[0].device
        places = tuple([x.data_ptr() for x in moving])
        again = self._known.get(places)
        if again is not None and not _is_watched():
            again()
            return
        args = arguments()
        variant.launch(num_programs, device, *args)
        if len(self._known) >= MOST_REPEATED:
            self._known.clear()
        seen = places in self._known  # most calls that are not prepared never come again
        self._known[places] = variant.repeat(num_programs, device, args) if seen else None


def current_stream(x: torch.Tensor) -> int:
    """The stream that x's device works on now: what one makes, another may not have seen yet. CPU: 0."""
    return driver.active.get_current_stream(x.device.index) if x.is_cuda else 0


def _is_watched() -> bool:
    """Whether a profiler of Triton's asked to be told of launches."""
    knobs = triton.knobs  # not in versions that are not launched directly
    hooks = (knobs.runtime.launch_enter_hook, knobs.runtime.launch_exit_hook)
    return any(getattr(hook, "calls", hook) for hook in hooks)
