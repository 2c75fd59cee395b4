"""What Nsight Compute counted, kernel by kernel, from the raw page it prints as CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from lbench.profiling.kernels import short
from lbench.profiling.trace import Unreadable

UNITS = {
    "ns": 1e-6, "nsecond": 1e-6, "us": 1e-3, "usecond": 1e-3, "ms": 1.0, "msecond": 1.0, "s": 1e3,
    "second": 1e3,
    "byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "Tbyte": 1e12,
}  # fmt: skip
"""To milliseconds and bytes; what has another unit is taken as it is."""
DRAM = (
    "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed",
)
TENSOR = (
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed",
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active",
    "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active",
)
L2 = ("lts__throughput.avg.pct_of_peak_sustained_elapsed", "lts__t_sectors.avg.pct_of_peak_sustained_elapsed")
SM = ("sm__throughput.avg.pct_of_peak_sustained_elapsed",)
TENSOR_OPS = re.compile(r"^sm__ops_path_tensor_src_(bf16_dst_fp32|fp16|tf32_dst_fp32|fp8|fp64)\.sum$")
"""Only the sums over all paths: those of a path (op_hgmma, sparsity_off) are parts of them."""
SCALAR_OPS = {"fadd": 1.0, "fmul": 1.0, "ffma": 2.0}
STALL = re.compile(
    r"^smsp__average_warps?_issue_stalled_(\w+?)(_not_issued)?_per_(issue_active\.ratio|warp_active\.pct)$"
)


@dataclass(frozen=True, kw_only=True)
class Counters:
    """One launch of one kernel. Shares are of 1; None is what ncu did not tell."""

    name: str
    full_name: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    metrics: Mapping[str, float]

    def first(self, *names: str) -> float | None:
        """The first of these metrics that was told."""
        return next((self.metrics[name] for name in names if name in self.metrics), None)

    def share(self, names: Sequence[str]) -> float | None:
        """The same of a percentage."""
        value = self.first(*names)
        return None if value is None else value / 100

    @property
    def time_ms(self) -> float | None:
        """Of this launch, caches flushed before it."""
        return self.first("gpu__time_duration.sum")

    @property
    def dram_bytes(self) -> float | None:
        """Read and written."""
        read, written = self.first("dram__bytes_read.sum"), self.first("dram__bytes_write.sum")
        return None if read is None or written is None else read + written

    @property
    def flops(self) -> float | None:
        """Executed: tensor cores, and fp32 outside of them."""
        tensor = [value for name, value in self.metrics.items() if TENSOR_OPS.match(name)]
        scalar = [
            times * value
            for op, times in SCALAR_OPS.items()
            if (value := self.first(f"smsp__sass_thread_inst_executed_op_{op}_pred_on.sum")) is not None
        ]
        return sum(tensor) + sum(scalar) if tensor or scalar else None

    @property
    def occupancy(self) -> float | None:
        """Warps that were resident, as a share of the most, while the multiprocessor was at work."""
        return self.share(("sm__warps_active.avg.pct_of_peak_sustained_active",))

    @property
    def blocks(self) -> int:
        """Of the grid."""
        return prod(self.grid)

    @property
    def stalls(self) -> dict[str, float]:
        """Why warps waited -> share of all waiting, the most frequent first."""
        found: dict[str, float] = {}
        for name, value in self.metrics.items():
            told = STALL.match(name)
            if told and not told[2] and told[1] != "selected" and value > 0:
                found[told[1]] = max(value, found.get(told[1], 0.0))
        total = sum(found.values())
        return {name: value / total for name, value in sorted(found.items(), key=lambda one: -one[1])}


def parse(text: str) -> list[Counters]:
    """The launches of a raw page, in their order. Unreadable where it is none."""
    lines = text.splitlines()
    start = next(
        (at for at, line in enumerate(lines) if line.startswith('"ID"') or line.startswith("ID,")), None
    )
    if start is None:
        raise Unreadable("ncu's page has no header: it is not the raw page, or ncu failed")
    table = list(csv.reader(io.StringIO("\n".join(lines[start:]))))
    head = table[0]
    if "Kernel Name" not in head:
        raise Unreadable("ncu's page names no kernels (no column 'Kernel Name')")
    if "Metric Name" in head:
        raise Unreadable(
            "this is ncu's page of details; the raw page is read: ncu --import FILE --page raw --csv"
        )
    rows = [dict(zip(head, row, strict=True)) for row in table[1:] if len(row) == len(head)]
    units = rows[0] if rows and not rows[0].get("ID", "").strip() else {}
    found = [_counters(row, units) for row in rows if row.get("ID", "").strip()]
    if not found:
        raise Unreadable("ncu's page has no kernel")
    return found


def number(text: str) -> float | None:
    """A number as ncu prints it (`1,234.5`); None for `n/a`, `nan` and words."""
    bare = text.strip().replace(",", "")
    try:
        value = float(bare)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _counters(row: Mapping[str, str], units: Mapping[str, str]) -> Counters:
    metrics = {}
    for name, text in row.items():
        if "__" in name and (value := number(text)) is not None:
            metrics[name.strip()] = value * UNITS.get(units.get(name, "").strip(), 1.0)
    return Counters(
        name=short(row["Kernel Name"]),
        full_name=row["Kernel Name"],
        grid=_sizes(row.get("Grid Size", "")) or _sizes(row.get("launch__grid_size", "")),
        block=_sizes(row.get("Block Size", "")) or _sizes(row.get("launch__block_size", "")),
        metrics=metrics,
    )


def _sizes(text: str) -> tuple[int, ...]:
    """`(132, 1, 1)` as sizes."""
    return tuple(int(size) for size in re.findall(r"\d+", text))
