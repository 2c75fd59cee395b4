"""A gate's report as a terminal, a file, a CI system or a program reads it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from lbench import terminal
from lbench.errors import UsageError
from lbench.gates.junit import junit_xml
from lbench.gates.markdown import markdown_comment
from lbench.gates.verdict import Finding, Report

STYLES = {"pass": "green", "fail": "bold red", "undecided": "yellow"}


def show(report: Report, as_json: bool) -> None:
    """On standard output: the verdict, then every finding, what moved first."""
    if as_json:
        print(json.dumps(report.as_dict(), indent=1))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    wraps = console.is_terminal or terminal.columns() < terminal.ENDLESS
    console.print(Text(report.headline, style=STYLES[report.outcome]), soft_wrap=not wraps)
    findings = _ordered(report)
    lines = [(Text(one.state, STYLES[one.outcome]), Text(f"{one.subject}: {one.reason}")) for one in findings]
    lines += [(Text("note"), Text(note)) for note in report.notes]
    lines.append((Text("rule", "dim"), Text(report.rule, "dim")))
    if wraps:  # wrapped beside what they are; elsewhere a line each, for other programs
        grid = Table.grid(padding=(0, 2))
        grid.add_column(justify="right", width=10)
        grid.add_column()
        for line in lines:
            grid.add_row(*line)
        console.print(grid, soft_wrap=False)
        return
    for name, text in lines:
        name.align("right", 10)
        console.print(name.append("  ", "default").append_text(text))


def write(report: Report, markdown: Path | None, junit: Path | None) -> None:
    """The files asked for. UsageError where one cannot be written."""
    kinds: list[tuple[Path | None, Callable[[Report], str]]] = [
        (markdown, markdown_comment),
        (junit, junit_xml),
    ]
    for path, made in kinds:
        if path is None:
            continue
        try:
            path.write_text(made(report), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error


def announce(report: Report) -> None:
    """GitHub's annotations on standard error, and the comment as the step's summary.

    Standard output stays the report alone, so that `--json` can be parsed; a runner reads commands on both.
    """
    for finding in _ordered(report):
        if finding.outcome != "pass":
            print(annotation(report.gate, finding), file=sys.stderr)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(markdown_comment(report))


def annotation(gate: str, finding: Finding) -> str:
    """One workflow command, escaped as the runner wants it."""
    level = "error" if finding.outcome == "fail" else "warning"
    title = _escaped(f"{gate}: {finding.subject}", ":,")
    return f"::{level} title={title}::{_escaped(f'{finding.state}: {finding.reason}', '')}"


def _escaped(text: str, also: str) -> str:
    for sign in "%\r\n" + also:
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text


def _ordered(report: Report) -> list[Finding]:
    order = {"fail": 0, "undecided": 1, "pass": 2}
    return sorted(report.findings, key=lambda finding: (order[finding.outcome], not finding.moved))
