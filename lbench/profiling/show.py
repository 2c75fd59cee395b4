"""A profile in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lbench.profiling import folder
from lbench.profiling.analysis import Analysis, Counted
from lbench.profiling.assembly import Compiled
from lbench.profiling.counters import DRAM, TENSOR
from lbench.profiling.kernels import Kernel

MOST_KERNELS = 15
MOST_SITES = 12
MIB = 2**20


def print_profile(one: Analysis, console: Console) -> None:
    """Kernels, where the rest goes, findings, then what else was asked for, and what is missing and why."""
    _heading(one, console)
    if one.kernels:
        console.print(_kernel_table(one))
        _rest(one, console)
        _findings(one, console)
    if one.counted:
        _counted(one, console)
    if one.compiled:
        _compiled(one.compiled, console)
    if one.peak is not None:
        _peak(one, console)
    for part, why in one.missing.items():
        console.print(Text(f"no {part}: {why}", style="yellow"))
    for line in files(one):
        console.print(Text(line, style="dim"))


def files(one: Analysis) -> Iterator[str]:
    """The files of a profile that other programs open."""
    told = {
        folder.TRACE: "open it at ui.perfetto.dev or chrome://tracing",
        folder.REPORT: "open it with ncu-ui",
        folder.SNAPSHOT: "the allocator's snapshot: drop it on pytorch.org/memory_viz",
        folder.FIGURE: "memory of one call by call site",
        folder.TRITON: "what Triton compiled",
    }
    for name, how in told.items():
        if (one.kept.folder / name).exists():
            yield f"{one.kept.folder / name}: {how}"


def _heading(one: Analysis, console: Console) -> None:
    document = one.kept.document
    machine = document.get("environment") or {}
    console.print(Text(one.kept.case.key, style="bold"))
    time = "" if one.time_ms is None else f"{one.time_ms:.4g} ms a call, timed as `run` does; "
    console.print(
        Text(
            f"{machine.get('gpu') or machine.get('cpu') or 'unknown device'}; {time}"
            f"profile of {document.get('calls', '?')} calls, caches cold before each",
            style="dim",
        )
    )


def _kernel_table(one: Analysis) -> Table:
    on_gpu = one.on_gpu
    head = ["kernel" if on_gpu else "operator, without those it calls", "ms", "share", "calls"]
    table = plain_table([*head, *(["grid", "block", "regs", "shared", "occ."] if on_gpu else [])])
    shown, rest = one.kernels[:MOST_KERNELS], one.kernels[MOST_KERNELS:]
    for kernel in shown:
        table.add_row(_named(kernel), *_figures(kernel), *(_launch(kernel) if on_gpu else []))
    if rest:
        launches = sum(kernel.launches for kernel in rest)
        figures = (
            f"{sum(k.time_ms for k in rest):.4g}",
            f"{sum(k.share for k in rest):.1%}",
            f"{launches:g}",
        )
        table.add_row(Text(f"{len(rest)} more", style="dim"), *figures, *[""] * (5 * on_gpu))
    return table


def _named(kernel: Kernel) -> Text:
    what = [kernel.kind.value] if kernel.kind.value != "compute" else []
    what += [f"from {kernel.launched_by}"] if kernel.launched_by else []
    text = Text(kernel.name)
    return text.append(f"\n  {', '.join(what)}", style="dim") if what else text


def _figures(kernel: Kernel) -> tuple[str, str, str]:
    return f"{kernel.time_ms:.4g}", f"{kernel.share:.1%}", f"{kernel.launches:g}" if kernel.launches else ""


def _launch(kernel: Kernel) -> list[str]:
    grids = _sizes(kernel.grids[0]) if kernel.grids else ""
    more = "" if len(kernel.grids) < 2 else f" +{len(kernel.grids) - 1}"
    shared = "" if kernel.shared_bytes is None else f"{kernel.shared_bytes / 1024:g} K"
    occupied = "" if kernel.occupancy is None else f"{kernel.occupancy:.0%}"
    return [grids + more, _sizes(kernel.block), _or_empty(kernel.registers), shared, occupied]


def _sizes(sizes: Sequence[int]) -> str:
    """132x1x1 as 132: ones at the end say nothing."""
    kept = list(sizes)
    while len(kept) > 1 and kept[-1] == 1:
        kept.pop()
    return "\u00d7".join(map(str, kept))


def _rest(one: Analysis, console: Console) -> None:
    rest = one.rest
    assert rest is not None
    what = "from the first kernel to the last" if one.on_gpu else "in the call"
    console.print(Text(f"Where {rest.span_ms:.4g} ms {what} go", style="bold"))
    for name, part in sorted(rest.parts_ms.items(), key=lambda entry: -entry[1]):
        if part > 0:
            console.print(f"  {name:<30} {part:>9.4g} ms  {rest.shares[name]:>6.1%}")
    if rest.allocations:
        count, mib = rest.allocations, rest.allocated_mib
        console.print(f"  {count:g} tensors a call, {mib:,.1f} MiB, from torch's allocator", style="dim")
    for name, (count, time_ms) in rest.driver.items():
        console.print(f"  {name}: {count:g} a call, {time_ms:.4g} ms of the host", style="dim")
    enqueue = one.kept.document.get("enqueue_us") or []
    if one.on_gpu and enqueue:
        console.print(
            f"  the host enqueues a call in {sorted(enqueue)[len(enqueue) // 2]:.4g} us", style="dim"
        )
    console.print()


def _findings(one: Analysis, console: Console) -> None:
    console.print(Text("Seen in the timed region", style="bold"))
    if not one.seen:
        console.print("  nothing but the backend's own arithmetic\n")
        return
    for seen in one.seen:
        figures = [f"{seen.count:g} a call" if seen.count else "", f"{seen.share:.1%}" if seen.share else ""]
        told = ", ".join(filter(None, [*figures, f"in {seen.where}" if seen.where else ""]))
        console.print(indented(f"{seen.finding.value}: {told}" if told else seen.finding.value))
        console.print(indented(Text(seen.finding.advice, style="dim"), 4))
    console.print()


def _counted(one: Analysis, console: Console) -> None:
    table = plain_table(
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
        _percent(one.share(DRAM)),
        "" if moved is None else f"{moved * counted.launches / 1e9:.3g}",
        _percent(one.share(("lts__t_sector_hit_rate.pct",))),
        _percent(one.share(TENSOR)),
        _percent(one.occupancy),
        next((f"{name} {share:.0%}" for name, share in stalls.items()), ""),
    ]


def _work_lines(one: Analysis) -> Iterator[str]:
    """Bytes and FLOPs of a call, needed and done."""
    if (moved := one.moved_bytes) is not None:
        times = moved / one.floor_bytes
        yield f"{one.floor_bytes / 1e9:.3g} GB must move, {moved / 1e9:.3g} GB did ({times:.2f} times)"
    if (executed := one.executed_flops) is not None:
        useful = one.useful_flops
        times = executed / useful
        yield f"{useful / 1e9:.4g} useful GFLOP, {executed / 1e9:.4g} executed ({times:.2f} times)"


def _compiled(compiled: Sequence[Compiled], console: Console) -> None:
    table = plain_table(["compiled by Triton", "regs", "spills", "shared", "configuration"])
    for one in compiled:
        configuration = " ".join(f"{name}={value}" for name, value in one.configuration.items())
        shared = "" if one.shared_bytes is None else f"{one.shared_bytes / 1024:g} K"
        table.add_row(one.name, _or_empty(one.registers), _or_empty(one.spills), shared, configuration)
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


def _peak(one: Analysis, console: Console) -> None:
    peak = one.peak
    assert peak is not None
    console.print(Text(f"Peak of one call: {peak.bytes / MIB:,.1f} MiB beyond its inputs", style="bold"))
    table = plain_table(["  MiB", "share", "", "call site"])
    for site in peak.sites[:MOST_SITES]:
        share = site.bytes / peak.bytes if peak.bytes else 0.0
        count = f"{site.count} tensor{'s' * (site.count != 1)}"
        table.add_row(f"  {site.bytes / MIB:,.1f}", f"{share:.1%}", count, Text(site.where))
    if rest := peak.sites[MOST_SITES:]:
        table.add_row(f"  {sum(site.bytes for site in rest) / MIB:,.1f}", "", "", f"{len(rest)} more")
    console.print(table)
    console.print()


def plain_table(head: Sequence[str]) -> Table:
    """A table without a frame, names to the left and figures to the right."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for number, name in enumerate(head):
        left = number == 0 or name in ("configuration", "waits for", "call site")
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    return table


def indented(text: str | Text, by: int = 2) -> Padding:
    """Text whose further lines stand where its first one does."""
    return Padding(text, (0, 0, 0, by), expand=False)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _or_empty(value: Any) -> str:
    return "" if value is None else str(value)
