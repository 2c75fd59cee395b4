"""One compiled variant of a kernel, launched with as little work on the host as can be.

Triton binds, specialises and looks up the arguments of every call anew, which takes longer than all the rest
of a short call. Here every pointer is 16-byte aligned and no size is specialised: what was compiled for one
call serves every call with the same constants on the same device.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from triton.runtime import driver
from triton.runtime.jit import JITFunction

# Versions whose compiled kernels take all arguments in order, constants too.
DIRECT = tuple(int(part) for part in triton.__version__.split(".")[:2]) >= (3, 6)


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


def _is_watched() -> bool:
    """Whether a profiler of Triton's asked to be told of launches."""
    knobs = triton.knobs  # not in versions that are not launched directly
    hooks = (knobs.runtime.launch_enter_hook, knobs.runtime.launch_exit_hook)
    return any(getattr(hook, "calls", hook) for hook in hooks)
