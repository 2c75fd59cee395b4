"""All that a kept profile says, part by part; a part that cannot be read says why and leaves the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lbench import mechanisms
from lbench.profiling import allocations, assembly, bounds, counters, folder, trace
from lbench.profiling.allocations import Peak
from lbench.profiling.assembly import Compiled
from lbench.profiling.counters import Counters
from lbench.profiling.findings import Seen, findings
from lbench.profiling.folder import Kept
from lbench.profiling.kernels import Kernel, kernels, operators
from lbench.profiling.nsight import MOST_LAUNCHES
from lbench.profiling.occupancy import Card
from lbench.profiling.rest import Rest, rest
from lbench.statistics import median


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Launches of one kernel with one grid, as Nsight Compute saw them."""

    longest: Counters
    """The one whose counters are told."""
    launches: int
    time_ms: float | None
    """All launches together."""
    share: float
    """Of the time of all kernels."""
    bound: str
    """What bounds it, in a sentence."""


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A profile in tables."""

    kept: Kept
    kernels: tuple[Kernel, ...] = ()
    rest: Rest | None = None
    seen: tuple[Seen, ...] = ()
    counted: tuple[Counted, ...] = ()
    compiled: tuple[Compiled, ...] = ()
    peak: Peak | None = None
    missing: dict[str, str] = field(default_factory=dict)
    """Part -> why it is not here."""

    @property
    def on_gpu(self) -> bool:
        """Whether the kernels are those of a GPU."""
        return any(kernel.block for kernel in self.kernels)

    @property
    def time_ms(self) -> float | None:
        """The median of a few calls timed as `run` does, without tools."""
        times = self.kept.document.get("times_ms") or []
        return median(times) if times else None

    @property
    def cut_off(self) -> bool:
        """Whether the call launched more than was counted: sums over all kernels are then not told."""
        return sum(one.launches for one in self.counted) >= MOST_LAUNCHES

    @property
    def useful_flops(self) -> float:
        """Of the mechanism's cheapest exact form."""
        return mechanisms.load(self.kept.case.mechanism).useful_flops(self.kept.case)

    @property
    def executed_flops(self) -> float | None:
        """What the device counted; on a CPU the matrix products that torch saw; None without either."""
        told = [one.longest.flops * one.launches for one in self.counted if one.longest.flops is not None]
        if told and not self.cut_off:
            return sum(told)
        # On a GPU most kernels are none of torch's: its count would be a part of the work.
        return None if self.on_gpu else (self.kept.document.get("facts") or {}).get("counted_flops")

    @property
    def floor_bytes(self) -> int:
        """What the pass must move at the least."""
        return mechanisms.load(self.kept.case.mechanism).floor_bytes(self.kept.case)

    @property
    def moved_bytes(self) -> float | None:
        """Read from and written to the device's memory, by ncu."""
        moved = [
            one.longest.dram_bytes * one.launches
            for one in self.counted
            if one.longest.dram_bytes is not None
        ]
        return sum(moved) if moved and not self.cut_off else None


def analyse(kept: Kept) -> Analysis:
    """Reads every file of a profile. Nothing here raises for what a tool wrote."""
    missing = dict(kept.missing)
    facts: dict[str, Any] = dict(kept.document.get("facts") or {})
    card = Card.of(kept.document.get("card") or {})
    found: dict[str, Any] = {}

    def part(name: str, path: str, make: Callable[[], None]) -> None:
        if not (kept.folder / path).exists():
            return
        try:
            make()
            missing.pop(name, None)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            missing[name] = (
                str(error) if isinstance(error, trace.Unreadable) else f"{path} is not as expected: {error}"
            )

    def compiled() -> None:
        found["compiled"] = tuple(assembly.read(kept.folder / folder.TRITON))
        facts["tf32_kernels"] = {one.name: one.tf32 for one in found["compiled"]}

    def traced() -> None:
        read = trace.read(kept.folder / folder.TRACE)
        found["kernels"] = tuple(kernels(read, card) if read.device else operators(read))
        found["rest"] = rest(read)
        found["seen"] = tuple(findings(read, found["rest"], facts))
        if str(kept.case.device).startswith("cuda") and not read.device:
            missing["kernels"] = (
                "the profiler saw no kernel: another tool holds CUPTI; end it and profile again"
            )

    def counted() -> None:
        text = (kept.folder / folder.NCU).read_text(encoding="utf-8")
        found["counted"] = tuple(group(counters.parse(text), card.multiprocessors if card else None))

    def remembered() -> None:
        found["peak"] = allocations.peak(folder.read_json(kept.folder / folder.MEMORY))

    part("triton", folder.TRITON, compiled)
    part("trace", folder.TRACE, traced)
    part("ncu", folder.NCU, counted)
    part("memory", folder.MEMORY, remembered)
    return Analysis(kept=kept, missing=missing, **found)


def group(launches: Sequence[Counters], multiprocessors: int | None) -> list[Counted]:
    """Launches of one kernel and grid together, the longest first."""
    alike: dict[tuple, list[Counters]] = {}
    for one in launches:
        alike.setdefault((one.full_name, one.grid, one.block), []).append(one)
    total_ms = sum(one.time_ms or 0.0 for one in launches)
    made = []
    for same in alike.values():
        longest = max(same, key=lambda one: one.time_ms or 0.0)
        times = [one.time_ms for one in same if one.time_ms is not None]
        made.append(
            Counted(
                longest=longest,
                launches=len(same),
                time_ms=sum(times) if times else None,
                share=sum(times) / total_ms if total_ms else 0.0,
                bound=bounds.sentence(longest, multiprocessors),
            )
        )
    return sorted(made, key=lambda one: -(one.time_ms or 0.0))
