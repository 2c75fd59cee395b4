"""Further processes of cases whose verdict is open, for as long as a budget lasts."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lbench.errors import UsageError
from lbench.terminal import counted

if TYPE_CHECKING:
    from lbench.device import Device
    from lbench.gates.processes import Side
    from lbench.gates.verdict import Finding, Report

START_UP_S = 10.0
"""What a process is taken to cost beside its cases, until one was seen to cost less."""


@dataclass(kw_only=True)
class Further:
    """Where further processes run, and what time they have."""

    folder: Path
    """The results under test; rows of further processes are kept there too."""
    device: str | None
    budget_s: float
    start_up_s: float = START_UP_S

    def settle(self, read: Callable[[], Side], judge: Callable[[Side], Report]) -> Report:
        """The report once nothing is open that a process could decide, or the time is over."""
        from lbench.durations import format_duration

        end = time.monotonic() + self.budget_s
        side = read()
        report = judge(side)
        found: Device | None = None
        while chosen := affordable(report.findings, side, end - time.monotonic() - self.start_up_s):
            if found is None:
                found = self._probe(side)
            left = format_duration(max(end - time.monotonic(), 0.0))
            print(
                f"lbench: {counted(len(chosen), 'open case')}, one more process ({left} left)",
                file=sys.stderr,
            )
            started = time.monotonic()
            self._measure(found, side, chosen)
            side = read()
            report = judge(side)
            walls = sum(side.rows[key][-1].wall_s or 0.0 for key in chosen)
            self.start_up_s = max(time.monotonic() - started - walls, 0.0)
        return report

    def _probe(self, side: Side) -> Device:
        """The device, if it is the one that the results under test were measured on."""
        from lbench.device import probe
        from lbench.gates.fingerprint import apart, differences_told, fingerprint
        from lbench.gates.processes import PROTOCOL

        row = next(iter(side.rows.values()))[-1]
        found = probe(self.device or ("cpu" if row.case.device == "cpu" else None))
        was = {name: value for name, value in fingerprint(side).items() if name not in PROTOCOL}
        if differing := apart(was, {name: found.environment.get(name) for name in was}):
            raise UsageError(
                f"--budget measures on, and this is not the machine of {side.name} "
                f"({differences_told(differing)}); leave --budget out, or name its --device"
            )
        return found

    def _measure(self, device: Device, side: Side, keys: Sequence[str]) -> None:
        from lbench import suite as suites
        from lbench.cli.progress import show
        from lbench.isolation import ProcessWorker
        from lbench.replay import is_replay
        from lbench.results import Writer
        from lbench.runner import Sweep

        row = side.rows[keys[0]][-1]
        sweep = Sweep(
            suite=suites.of_document(side.runs.get(row.run, {}).get("suite", {})),
            cases=[side.rows[key][-1].case for key in keys],
            device=device,
            writer=Writer(self._place()),
            make_worker=functools.partial(ProcessWorker, preload=not is_replay(device.device)),
        )
        show(sweep)

    def _place(self) -> Path:
        """Rows of another run fit into a result folder; beside several there is one more."""
        from lbench.gates.processes import holds_rows

        if holds_rows(self.folder):
            return self.folder
        number = 1
        while (self.folder / f"further-{number}").exists():
            number += 1
        return self.folder / f"further-{number}"


def affordable(findings: Iterable[Finding], side: Side, left_s: float) -> list[str]:
    """Open cases that one more process brings nearer to a verdict and that fit into the time left.

    Those that need the fewest processes come first: what looks slower, then what is nearly decided.
    """
    chosen = []
    for finding in sorted(findings, key=lambda one: one.figures.get("more") or 0):
        if not finding.figures.get("more") or finding.outcome != "undecided":
            continue
        wall_s = side.rows[finding.subject][-1].wall_s or 0.0
        if wall_s <= left_s:
            left_s -= wall_s
            chosen.append(finding.subject)
    return chosen
