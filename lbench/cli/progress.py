"""How a sweep looks while it runs: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import datetime
import math
import statistics
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from lbench import interrupt, terminal
from lbench.cli import listener
from lbench.lengths import format_length

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from lbench.case import Case
    from lbench.results import Row
    from lbench.runner import Sweep

COLOURS = {
    "ok": "green",
    "unsupported": "dim",
    "unavailable": "dim",
    "skipped": "dim",
    "out_of_memory": "yellow",
}
RECENT = 12


def show(sweep: Sweep, quiet: bool = False) -> Counter[str]:
    """Runs a sweep to its end with its progress on standard error; how often each verdict came.

    A quiet one tells what may disturb it and what failed, and nothing else.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not quiet:
        _head(sweep, console)
    with listener.not_needed(), interrupt.held_back():
        for warning in sweep.look():
            _say(f"! {warning}", console, "yellow")
        counts = _run(sweep, console, quiet)
    _list_failures(sweep)
    for line in _closing(sweep) if counts and not quiet else ():
        _say(line, console, "dim")
    return counts


def _head(sweep: Sweep, console: Console) -> None:
    device = sweep.device
    told = f"{sweep.suite.name}: {len(sweep.todo)} of {len(sweep.cases)} cases to do on {device.name}"
    _say(f"{told} (copy bandwidth {device.copy_bandwidth_gb_s:,.0f} GB/s)", console)


def _say(text: str, console: Console, style: str = "") -> None:
    lines = "\n".join(terminal.wrapped(text, sys.stderr, indent="  "))
    console.print(lines, highlight=False, markup=False, style=style, soft_wrap=True)


def _run(sweep: Sweep, console: Console, quiet: bool) -> Counter[str]:
    if quiet:
        return Counter(row.verdict for row in sweep.measure())
    counts = _live(sweep, console) if console.is_terminal else _plain(sweep)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()) or "nothing to do"
    _say(told, console)
    return counts


def _closing(sweep: Sweep) -> list[str]:
    """What the doubts advise, what noise alone did, and where the time went."""
    from lbench.doubts import advice
    from lbench.replay import is_replay
    from lbench.report.breakdown import breakdown
    from lbench.rotation import noise_floor

    rows = [row for row in sweep.rows.values() if row.run == sweep.run]
    lines = [*advice(row.doubts for row in rows), noise_floor(rows)]
    if is_replay(sweep.device.device):
        lines.append("replayed: times are those of the kept rows, so no account is given of where time went")
    else:
        lines.append(breakdown(sweep.spent))
    return [line for line in lines if line]


def _list_failures(sweep: Sweep) -> None:
    from lbench.replay import is_replay
    from lbench.report.failures import failures

    run = {"suite": sweep.suite.as_dict()}
    device = sweep.device.device if is_replay(sweep.device.device) else ""
    rows = [
        {
            **row.case.as_dict(),
            "verdict": row.verdict,
            "reason": row.reason,
            "reproduce": row.reproduce(run, device),
        }
        for case in sweep.cases
        if (row := sweep.rows.get(case.key)) is not None
    ]
    for told, command in failures(rows, every=True):
        terminal.tell(told, sys.stderr, indent="  ")
        print(f"    {command}", file=sys.stderr)


def summary(row: Row) -> str:
    """One row in a few words: its median and per-token time, or its verdict and reason."""
    from lbench.statistics import known_interval, median

    if row.verdict != "ok":
        return f"{row.verdict}: {row.reason}"
    if row.only_verified:
        return "ok, not timed"
    time_ms = median(row.times_ms)
    low, high = known_interval(row.times_ms)
    spread = "?" if math.isnan(low) else f"{(high - low) / 2 / time_ms:.1%}"
    return f"{_duration(time_ms)} \u00b1{spread}, {_duration(time_ms / row.case.tokens)}/token"


def _duration(time_ms: float) -> str:
    """Three digits and the unit that needs no power of ten."""
    scales = {"s": 1e-3, "ms": 1.0, "us": 1e3, "ns": 1e6}
    unit = next((unit for unit, scale in scales.items() if time_ms * scale >= 1), "ns")
    value = time_ms * scales[unit]
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def _name(case: Case) -> str:
    sizes = f"{format_length(case.batch)} x {format_length(case.seq_len)}"
    return case.with_setting(f"{case.who} {case.pass_name} {sizes}")


def _plain(sweep: Sweep) -> Counter[str]:
    view = View(total=len(sweep.todo))
    for row in sweep.measure():
        view.finish(row)
        terminal.tell(view.told(row, view.counts.total()), sys.stderr, indent="  ")
    return view.counts


def _live(sweep: Sweep, console: Console) -> Counter[str]:
    from rich.live import Live

    view = View(total=len(sweep.todo), doing=lambda: sweep.doing)
    with Live(get_renderable=view.render, console=console, refresh_per_second=4):
        for row in sweep.measure(starting=view.start):
            view.finish(row)
    return view.counts


class View:
    """What a live display shows: a bar, the case in hand and the last rows."""

    def __init__(self, total: int, doing: Callable[[], str] = lambda: "") -> None:
        self.total, self.doing = total, doing
        self.counts: Counter[str] = Counter()
        self.recent: deque[Row] = deque(maxlen=RECENT)
        self.current: Case | None = None
        self.started = self.case_started = time.monotonic()
        self.walls: list[float] = []

    def start(self, case: Case) -> None:
        """Shows the case as the one in hand."""
        self.current, self.case_started = case, time.monotonic()

    def finish(self, row: Row) -> None:
        """Counts a row in and shows it among the last ones."""
        self.counts[row.verdict] += 1
        self.recent.append(row)
        self.walls.append(row.wall_s or 0.0)
        self.current = None

    def since(self, started_at: str) -> None:
        """Counts the time from then on (UTC, ISO 8601), rather than from now; left where that is no time."""
        with contextlib.suppress(ValueError):
            began = datetime.datetime.fromisoformat(started_at).replace(tzinfo=datetime.UTC)
            past = datetime.datetime.now(datetime.UTC) - began
            self.started = time.monotonic() - past.total_seconds()

    def told(self, row: Row, number: int) -> str:
        """A row as a line of its own."""
        return f"[{number}/{self.total}] {_name(row.case)}: {summary(row)}"

    def _remaining(self) -> str:
        left = self.total - self.counts.total()
        if left <= 0:
            return "done"
        if not self.walls:
            return "estimating"
        return f"about {_clock(statistics.fmean(self.walls[-30:]) * left)} left"

    def render(self) -> RenderableType:
        """The display as it is now."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        rows = Table.grid(padding=(0, 2))
        rows.add_column(no_wrap=True)
        rows.add_column(no_wrap=True, overflow="ellipsis")
        for row in self.recent:
            rows.add_row(_name(row.case), Text(summary(row), style=COLOURS.get(row.verdict, "red")))
        done = self.counts.total()
        head = f"{done}/{self.total} cases, {_clock(time.monotonic() - self.started)}, {self._remaining()}"
        now = ""
        if self.current is not None:
            now = f"{_name(self.current)}, {self.doing()} \u2026 {time.monotonic() - self.case_started:.0f} s"
        bar = ProgressBar(total=max(self.total, 1), completed=done, width=24)
        status = Table.grid(padding=(0, 2))
        status.add_row(bar, Text(head))
        return Group(rows, status, Text(now, style="bold"))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
