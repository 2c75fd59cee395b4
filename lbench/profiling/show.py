"""A profile in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from lbench.profiling import folder
from lbench.profiling.analysis import Analysis
from lbench.profiling.forms import PlainTable, indented, or_empty
from lbench.profiling.kernels import Kernel
from lbench.profiling.show_tools import print_compiled, print_counted, print_peak
from lbench.statistics import median

MOST_KERNELS = 15


def print_profile(one: Analysis, console: Console) -> None:
    """Kernels, where the rest goes, findings, then what else was asked for, and what is missing and why."""
    _heading(one, console)
    if one.kernels:
        console.print(_kernel_table(one))
        console.print()
        _rest(one, console)
        _findings(one, console)
    if one.counted:
        print_counted(one, console)
    if one.compiled:
        print_compiled(one.compiled, console)
    if one.peak is not None:
        print_peak(one, console)
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


def _kernel_table(one: Analysis) -> PlainTable:
    on_gpu = one.on_gpu
    head = ["kernel" if on_gpu else "operator, without those it calls", "ms", "share", "calls"]
    table = PlainTable([*head, *(["grid", "block", "regs", "shared", "occ."] if on_gpu else [])])
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
    return [grids + more, _sizes(kernel.block), or_empty(kernel.registers), shared, occupied]


def _sizes(sizes: Sequence[int]) -> str:
    """132x1x1 as 132: ones at the end say nothing."""
    kept = list(sizes)
    while len(kept) > 1 and kept[-1] == 1:
        kept.pop()
    return "\u00d7".join(map(str, kept))


def _rest(one: Analysis, console: Console) -> None:
    rest = one.rest
    assert rest is not None
    what = "from the first kernel to the last" if one.on_gpu else "of a call"
    console.print(Text(f"Where the {rest.span_ms:.4g} ms {what} go", style="bold"))
    table = PlainTable(["part", "ms", "share"])
    for name, part in sorted(rest.parts_ms.items(), key=lambda entry: -entry[1]):
        if part > 0:
            table.add_row(name, f"{part:.4g}", f"{rest.shares[name]:.1%}")
    console.print(table)
    told = [f"{name}: {count:g} a call, {ms:.4g} ms of the host" for name, (count, ms) in rest.driver.items()]
    if rest.allocations:
        tensors = f"{rest.allocations:g} tensor{'s' * (rest.allocations != 1)} a call"
        told.append(f"{tensors}, {rest.allocated_mib:,.1f} MiB, from torch's allocator")
    told.append(f"operators are called from {rest.threads} thread{'s' * (rest.threads != 1)}{_cores(one)}")
    enqueue = one.kept.document.get("enqueue_us") or []
    if one.on_gpu and enqueue:
        told.append(f"the host enqueues a call in {median(enqueue):.4g} us")
    for line in told:
        console.print(indented(Text(line, style="dim")))
    console.print()


def _cores(one: Analysis) -> str:
    """What a CPU computes with."""
    machine = one.kept.document.get("environment") or {}
    if one.on_gpu or not machine.get("threads"):
        return ""
    pinned = f", on cores {machine['pinned_to']}" if machine.get("pinned_to") else ""
    return f"; torch computes with {machine['threads']}{pinned}"


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
