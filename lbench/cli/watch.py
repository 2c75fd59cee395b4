"""`lbench watch`: follows a running sweep from another terminal."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbench import terminal

if TYPE_CHECKING:
    from rich.console import Console

    from lbench.cli.progress import View
    from lbench.follow import Follower


def command(
    folder: Annotated[Path, typer.Argument(help="The folder that a run writes to.", show_default=False)],
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.05)] = 1.0,
) -> None:
    """Show the rows of a running sweep as they land, until it ends; it is not touched.

    Of a sweep that does not run any more, its last rows.
    """
    from rich.console import Console

    from lbench.cli.progress import RECENT, View
    from lbench.follow import Follower

    follower = Follower(folder)
    console = Console(highlight=False)
    view = View(total=0)
    earlier = follower.new_rows()
    for row in earlier:
        view.finish(row)
    _learn(view, follower)
    if console.is_terminal:
        _live(view, follower, console, interval)
    else:
        for number, row in enumerate(earlier[-RECENT:], start=max(len(earlier) - RECENT, 0) + 1):
            terminal.tell(view.told(row, number), indent="  ")
        _plain(view, follower, interval)
    told = ", ".join(f"{count} {verdict}" for verdict, count in view.counts.most_common()) or "no rows"
    ended = "ended" if "spent" in follower.newest_run() else "not running"
    print(f"{ended}: {told}", file=sys.stderr)


def _learn(view: View, follower: Follower) -> None:
    """How many cases the newest run has, and since when; an older lbench did not say."""
    run = follower.newest_run()
    view.total = max(int(run.get("cases") or 0), view.counts.total())
    if started := str(run.get("started_at") or ""):
        view.since(started)


def _plain(view: View, follower: Follower, interval_s: float) -> None:
    while True:
        running = follower.is_written()
        for row in follower.new_rows():
            view.finish(row)
            _learn(view, follower)
            terminal.tell(view.told(row, view.counts.total()), indent="  ")
        if not running:
            return
        time.sleep(interval_s)


def _live(view: View, follower: Follower, console: Console, interval_s: float) -> None:
    from rich.live import Live

    with Live(get_renderable=view.render, console=console, refresh_per_second=4):
        while True:
            running = follower.is_written()
            for row in follower.new_rows():
                view.finish(row)
            _learn(view, follower)
            if not running:
                return
            time.sleep(interval_s)
