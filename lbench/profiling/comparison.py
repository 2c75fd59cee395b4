"""Two kept profiles side by side, kernel by kernel, and in a sentence why one takes longer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from lbench import backends
from lbench.profiling.analysis import Analysis
from lbench.profiling.forms import PlainTable
from lbench.profiling.kernels import Kernel

MOST_NAMED = 3
NAMED_SHARE = 0.1
"""A kernel below this share of the slower one's time explains little."""


@dataclass(frozen=True, kw_only=True)
class Total:
    """All launches of kernels with one name."""

    time_ms: float
    launches: float


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One kernel in both profiles; None where a profile has no kernel of that name."""

    name: str
    first: Total | None
    second: Total | None

    @property
    def difference_ms(self) -> float:
        """The second's time less the first's."""
        return (self.second.time_ms if self.second else 0.0) - (self.first.time_ms if self.first else 0.0)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two profiles, the pairs that differ most first."""

    first: Analysis
    second: Analysis
    pairs: tuple[Pair, ...]
    told: tuple[str, ...]
    """Sentences: what explains the difference, and what makes the two hard to compare."""


def compare(first: Analysis, second: Analysis) -> Comparison:
    """Pairs kernels by their names; differences of all pairs add up to that of the profiles."""
    sides = _by_name(first.kernels), _by_name(second.kernels)
    pairs = [
        Pair(name=name, first=sides[0].get(name), second=sides[1].get(name))
        for name in dict.fromkeys((*sides[0], *sides[1]))
    ]
    pairs.sort(key=lambda pair: -abs(pair.difference_ms))
    told = tuple(filter(None, (*_unlike(first, second), *_explained(first, second))))
    return Comparison(first=first, second=second, pairs=tuple(pairs), told=told)


def print_comparison(made: Comparison, console: Console) -> None:
    """One line a kernel, then the sentences."""
    for letter, one in (("A", made.first), ("B", made.second)):
        time = "" if one.time_ms is None else f", {one.time_ms:.4g} ms a call"
        console.print(Text(f"{letter}: {one.kept.case.key}{time}", style="bold"))
    table = PlainTable(["kernel", "A ms", "B ms", "B - A", "A calls", "B calls"])
    for pair in made.pairs:
        table.add_row(
            pair.name,
            *(f"{one.time_ms:.4g}" if one else "-" for one in (pair.first, pair.second)),
            f"{pair.difference_ms:+.4g}",
            *(f"{one.launches:g}" if one else "-" for one in (pair.first, pair.second)),
        )
    sums = [sum(one.time_ms for one in side.kernels) for side in (made.first, made.second)]
    table.add_row(
        Text("all", style="bold"), *(f"{total:.4g}" for total in sums), f"{sums[1] - sums[0]:+.4g}", "", ""
    )
    console.print(table)
    for sentence in made.told:
        console.print(Text(sentence))


def to_dict(made: Comparison) -> dict[str, Any]:
    """The comparison as plain data."""
    return {
        "first": made.first.kept.case.key,
        "second": made.second.kept.case.key,
        "pairs": [{**dataclasses.asdict(pair), "difference_ms": pair.difference_ms} for pair in made.pairs],
        "told": list(made.told),
    }


def _by_name(kernels: Iterable[Kernel]) -> dict[str, Total]:
    found: dict[str, Total] = {}
    for kernel in kernels:
        before = found.get(kernel.name, Total(time_ms=0.0, launches=0.0))
        found[kernel.name] = Total(
            time_ms=before.time_ms + kernel.time_ms, launches=before.launches + kernel.launches
        )
    return found


def _unlike(first: Analysis, second: Analysis) -> list[str]:
    """What else differs between the two than the backend."""
    told = []
    cases = [{**one.kept.case.as_dict(), "backend": ""} for one in (first, second)]
    axes = [name for name in cases[0] if cases[0][name] != cases[1][name]]
    if axes:
        told.append(f"The cases differ in {', '.join(axes)}.")
    machines = [one.kept.document.get("environment") or {} for one in (first, second)]
    differ = [
        name
        for name in ("gpu", "cpu", "driver", "torch", "triton")
        if machines[0].get(name) != machines[1].get(name)
    ]
    if differ:
        told.append(f"The machines differ in {', '.join(differ)}.")
    return told


def _explained(first: Analysis, second: Analysis) -> list[str]:
    """Which kernels the slower one spends its time in, what bounds them, and what it moves and computes."""
    if not first.kernels or not second.kernels:
        return []
    fast, slow = sorted((first, second), key=_total_ms)
    names = [_title(one) for one in (slow, fast)]
    ratio = _total_ms(slow) / _total_ms(fast) if _total_ms(fast) else float("inf")
    if ratio < 1.005:
        return ["Their kernels take the same time, within half a percent."]
    told = [f"{names[0]} takes {ratio:.3g} times the kernel time of {names[1]}: {_leading(slow)}."]
    for what, amounts, unit in (
        ("moves", (slow.moved_bytes, fast.moved_bytes), (1e9, "GB")),
        ("executes", (slow.executed_flops, fast.executed_flops), (1e12, "TFLOP")),
    ):
        texts = [f"{amount / unit[0]:.3g} {unit[1]}" for amount in amounts if amount]
        if len(texts) == 2:
            told.append(f"{names[0]} {what} {texts[0]}, {names[1]} {texts[1]}.")
    launches = [sum(kernel.launches for kernel in one.kernels) for one in (slow, fast)]
    told.append(f"{names[0]} launches {launches[0]:g} kernels, {names[1]} {launches[1]:g}.")
    return told


def _leading(one: Analysis) -> str:
    """The kernels that take most of the time, each with what bounds it where that was counted."""
    bounds = {counted.longest.name: counted.bound for counted in reversed(one.counted)}
    named = [kernel for kernel in one.kernels[:MOST_NAMED] if kernel.share >= NAMED_SHARE] or [one.kernels[0]]
    told = []
    for kernel in named:
        bound = f", {bounds[kernel.name]}" if kernel.name in bounds else ""
        told.append(f"{kernel.name} {kernel.time_ms:.4g} ms ({kernel.share:.0%}){bound}")
    return "; ".join(told)


def _total_ms(one: Analysis) -> float:
    return sum(kernel.time_ms for kernel in one.kernels)


def _title(one: Analysis) -> str:
    name = one.kept.case.backend
    return backends.load(name).title if name in backends.names() else name
