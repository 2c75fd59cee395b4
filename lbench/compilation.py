"""How many kernels a process has made ready, told by Triton's hook: compiled, or loaded from its cache."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any


@dataclass
class Compilations:
    """Counts since `watch`; both stay 0 where Triton is not there or has no such hook."""

    compiled: int = 0
    loaded: int = 0
    """Binaries found in Triton's cache on the disk."""

    @property
    def variants(self) -> int:
        """Kernels made ready, compiled or loaded."""
        return self.compiled + self.loaded

    def watch(self) -> None:
        """Begins to count; whoever listened before still hears."""
        with contextlib.suppress(ImportError, AttributeError):
            from triton import knobs

            before = knobs.compilation.listener

            def listen(*, cache_hit: bool, **told: Any) -> None:
                self.loaded += cache_hit
                self.compiled += not cache_hit
                if before is not None:
                    before(cache_hit=cache_hit, **told)

            knobs.compilation.listener = listen
