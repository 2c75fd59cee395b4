"""A gate's report as a pull-request comment: the verdict, then what moved, the rest folded."""

from __future__ import annotations

from collections.abc import Iterable

from lbench.gates.verdict import Finding, Report

MARKS = {"pass": "✅", "fail": "❌", "undecided": "❔"}


def markdown_comment(report: Report) -> str:
    """The comment, ending with a newline."""
    moved = [finding for finding in report.findings if finding.moved]
    rest = [finding for finding in report.findings if not finding.moved]
    lines = [f"### {MARKS[report.outcome]} lbench {_escaped(report.headline)}", ""]
    if moved:
        lines += [*_table(moved), ""]
    lines += [f"- {_escaped(note)}" for note in report.notes] + [""] * bool(report.notes)
    if rest:
        plural = "s" * (len(rest) > 1)
        lines += [
            f"<details><summary>{len(rest)} other{plural}</summary>",
            "",
            *_table(rest),
            "",
            "</details>",
            "",
        ]
    return "\n".join([*lines, f"<sub>{_escaped(report.rule)}</sub>", ""])


def _table(findings: Iterable[Finding]) -> list[str]:
    lines = [
        f"| {MARKS[one.outcome]} {one.state} | {_escaped(one.subject)} | {_escaped(one.reason)} |"
        for one in findings
    ]
    return ["| | case | |", "|---|---|---|", *lines]


def _escaped(text: str) -> str:
    """Text that Markdown and HTML leave alone, on one line."""
    for sign, instead in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("|", "\\|"),
        ("_", "\\_"),
        ("*", "\\*"),
    ):
        text = text.replace(sign, instead)
    return " ".join(text.split())
