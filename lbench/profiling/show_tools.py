"""What further tools told of a profile, in a terminal: Nsight Compute, Triton, the allocator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from lbench.profiling.analysis import Analysis, Counted
from lbench.profiling.assembly import Compiled
from lbench.profiling.counters import DRAM, TENSOR
from lbench.profiling.forms import PlainTable, indented, or_empty, percent
from lbench.profiling.nsight import MOST_LAUNCHES

MOST_KERNELS = 15
MOST_SITES = 12
MIB = 2**20


def print_counted(one: Analysis, console: Console) -> None:
    """What Nsight Compute counted, and what bounds each kernel."""
    table = PlainTable(
        ["Nsight Compute", "ms", "share", "DRAM", "GB moved", "L2 hits", "tensor", "warps", "waits for"]
    )
    for counted in one.counted[:MOST_KERNELS]:
        table.add_row(counted.longest.name, *_counters(counted))
    console.print(table)
    for counted in one.counted[:MOST_KERNELS]:
        console.print(indented(Text.assemble((f"{counted.longest.name}: ", "bold"), counted.bound)))
    for line in _work_lines(one):
        console.print(indented(Text(line, style="dim")))
    console.print()


def _counters(counted: Counted) -> list[str]:
    one = counted.longest
    moved, stalls = one.dram_bytes, one.stalls
    return [
        "" if counted.time_ms is None else f"{counted.time_ms:.4g}",
        f"{counted.share:.1%}",
        percent(one.share(DRAM)),
        "" if moved is None else f"{moved * counted.launches / 1e9:.3g}",
        percent(one.share(("lts__t_sector_hit_rate.pct",))),
        percent(one.share(TENSOR)),
        percent(one.occupancy),
        next((f"{name} {share:.0%}" for name, share in stalls.items()), ""),
    ]


def _work_lines(one: Analysis) -> Iterator[str]:
    """Bytes and FLOPs of a call, needed and done."""
    if one.cut_off:
        yield f"only the first {MOST_LAUNCHES} launches were counted: no sums over the call"
    if (moved := one.moved_bytes) is not None:
        times = moved / one.floor_bytes
        yield f"{one.floor_bytes / 1e9:.3g} GB must move, {moved / 1e9:.3g} GB did ({times:.2f} times)"
    if (executed := one.executed_flops) is not None:
        useful = one.useful_flops
        times = executed / useful
        yield f"{useful / 1e9:.4g} useful GFLOP, {executed / 1e9:.4g} executed ({times:.2f} times)"


def print_compiled(compiled: Sequence[Compiled], console: Console) -> None:
    """What Triton made of its kernels."""
    table = PlainTable(["compiled by Triton", "regs", "spills", "shared", "configuration"])
    for one in compiled:
        configuration = " ".join(f"{name}={value}" for name, value in one.configuration.items())
        shared = "" if one.shared_bytes is None else f"{one.shared_bytes / 1024:g} K"
        table.add_row(one.name, or_empty(one.registers), or_empty(one.spills), shared, configuration)
    console.print(table)
    for one in compiled:
        if one.source:
            console.print(indented(Text.assemble((f"{one.name}: ", "bold"), facts(one))))
        for problem in one.problems:
            console.print(Text(f"    {problem}", style="yellow"))
    console.print()


def facts(one: Compiled) -> str:
    """What a kernel's code has and has not, of what matters: `wgmma yes (12), TMA load no, ...`."""
    told = []
    for what in ("wgmma", "mma.sync", "TMA load", "TMA store", "cp.async 16 B", "load 16 B", "store 16 B"):
        told.append(f"{what} {f'yes ({one.instructions.get(what, 0)})' if one.has(what) else 'no'}")
    told += [
        f"{what} yes" for what in ("TF32", "atomic", "setmaxnreg", "local load (spill)") if one.has(what)
    ]
    shapes = f"; products {', '.join(one.shapes)}" if one.shapes else ""
    return f"{', '.join(told)} [{one.source.upper()}]{shapes}"


def print_peak(one: Analysis, console: Console) -> None:
    """The peak of memory by call site."""
    peak = one.peak
    assert peak is not None
    console.print(Text(f"Peak of one call: {peak.bytes / MIB:,.1f} MiB beyond its inputs", style="bold"))
    table = PlainTable(["  MiB", "share", "", "call site"])
    for site in peak.sites[:MOST_SITES]:
        share = site.bytes / peak.bytes if peak.bytes else 0.0
        count = f"{site.count} tensor{'s' * (site.count != 1)}"
        table.add_row(f"  {site.bytes / MIB:,.1f}", f"{share:.1%}", count, Text(site.where))
    if rest := peak.sites[MOST_SITES:]:
        table.add_row(f"  {sum(site.bytes for site in rest) / MIB:,.1f}", "", "", f"{len(rest)} more")
    console.print(table)
    console.print()
