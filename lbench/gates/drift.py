"""Slow drift: each step is within the margin, all of them together are not.

The side under test is compared with the baseline in force, and also with the one before it and with the
anchor, the first one, which stays until someone moves it. The three share the control of false alarms.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from lbench.gates import regression
from lbench.gates.evidence import LEAST_PROCESSES
from lbench.gates.processes import Side
from lbench.gates.regression import Options
from lbench.gates.verdict import Finding, Report


def check(new: Side, current: Side, older: Mapping[str, Side], options: Options) -> Report:
    """The report on the baseline in force; a case that is slower than in an older one fails too.

    `older` are sides by what they are called: `previous`, `anchor`. They only fail: a case that is undecided
    against them alone was not seen to drift.
    """
    options = dataclasses.replace(options, tables=1 + len(older))
    report = regression.check(new, current, options)
    findings = {finding.subject: finding for finding in report.findings}
    for name, side in older.items():
        for finding in _slower(new, side, options):
            if findings[finding.subject].outcome != "fail":
                reason = f"slower than in the {name} baseline: {finding.reason}"
                findings[finding.subject] = dataclasses.replace(finding, state="drifted", reason=reason)
    told = [f"compared with the {name} baseline too" for name in older]
    return dataclasses.replace(report, findings=tuple(findings.values()), notes=(*report.notes, *told))


def _slower(new: Side, old: Side, options: Options) -> list[Finding]:
    def processes(side: Side, key: str) -> int:
        return sum(bool(row.times_ms) for row in side.rows.get(key, ()))

    keys = [key for key in new.rows if processes(new, key) and processes(old, key) >= LEAST_PROCESSES]
    return [finding for finding in regression.compared(new, old, keys, options) if finding.state == "slower"]
