"""lbench: the benchmark for long-context sequence mixers.

`load(folder)` reads results into a DataFrame; `measure(function, ...)` times a function as the sweeps do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lbench.frame import load
    from lbench.timing import measure

__all__ = ["load", "measure"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # pandas and torch are imported on first use, so that `lbench --help` stays instant.
    if name == "load":
        from lbench.frame import load

        return load
    if name == "measure":
        from lbench.timing import measure

        return measure
    raise AttributeError(f"module 'lbench' has no attribute {name!r}")
