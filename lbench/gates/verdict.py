"""What a gate found: findings with their outcome, and the exit code of all of them together."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["pass", "fail", "undecided"]
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "fail": 1, "undecided": 3}
"""2 is usage, as everywhere."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One case or series that was looked at."""

    subject: str
    """A case's key, or a series of cases."""
    state: str
    """Such as pass, fail, slower, faster, same, no slower, drifted, undecided, broken, new, missing."""
    outcome: Outcome
    reason: str
    """Why, with its figures."""
    figures: dict[str, Any] = field(default_factory=dict)
    """The numbers behind it, for `--json`."""

    @property
    def moved(self) -> bool:
        """Whether a reader has to look at it."""
        return self.state not in ("pass", "same", "no slower")


@dataclass(frozen=True, kw_only=True)
class Report:
    """All findings of a gate."""

    gate: str
    rule: str
    """How it was decided, with the control of false alarms."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    """What a reader should know beside them."""

    @property
    def outcome(self) -> Outcome:
        """Fails if anything fails; undecided if anything is, or if nothing was looked at."""
        found = {finding.outcome for finding in self.findings}
        if "fail" in found:
            return "fail"
        return "undecided" if "undecided" in found or not found else "pass"

    @property
    def exit_code(self) -> int:
        """Of the command: 0 pass, 1 fail, 3 undecided."""
        return EXIT_CODES[self.outcome]

    @property
    def headline(self) -> str:
        """The verdict in a line."""
        counts = Counter(finding.state for finding in self.findings)
        told = ", ".join(f"{count} {state}" for state, count in counts.most_common())
        return f"{self.gate}: {self.outcome} ({told or 'nothing to look at'})"

    def as_dict(self) -> dict[str, Any]:
        """Everything, for `--json`."""
        fields = dataclasses.asdict(self)
        return {
            "gate": self.gate,
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            **fields,
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
        }
