"""A pytest plugin for teams that keep their checks in tests; without its fixture it does nothing.

Its fixture is `lbench_check`::

    def test_speed_is_what_it_was(lbench_check):
        lbench_check.regression("new", baseline="main")

    def test_time_a_token_is_constant(lbench_check):
        lbench_check.constancy("new", backend="mine")

A check that fails fails the test, one that is undecided skips it (`undecided="fail"` fails it), each with
what the command line would have printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from lbench.gates.verdict import Report

Undecided = Literal["skip", "fail"]


@dataclass(frozen=True, kw_only=True)
class Checks:
    """What the fixture gives: the gates as methods. Folders are relative to where pytest was started."""

    store: Path = Path("baselines")
    """Folder that holds all baselines."""

    def regression(
        self,
        results: str | Path,
        baseline: str | Path,
        *,
        margin: float = 0.03,
        widest: float = 0.10,
        undecided: Undecided = "skip",
    ) -> Report:
        """As `lbench check regression RESULTS --baseline BASELINE`."""
        from lbench.gates import drift, regression
        from lbench.gates.reference import reference

        new = regression.read(Path(results))
        current, older = reference(str(baseline), self.store, new, lambda _: True)
        options = regression.Options(margin=margin, widest=widest)
        return _settled(drift.check(new, current, older, options), undecided)

    def constancy(
        self, results: str | Path, backend: str | None = None, *, undecided: Undecided = "skip"
    ) -> Report:
        """As `lbench check constancy RESULTS`, of one backend or of all."""
        from lbench import results as kept
        from lbench.gates import constancy

        read = kept.read(Path(results))
        rows = [row for row in read.rows.values() if backend in (None, row.case.backend)]
        return _settled(constancy.check(read, rows), undecided)


@pytest.fixture
def lbench_check() -> Checks:
    """The gates of lbench, over result folders that are there."""
    return Checks()


def _settled(report: Report, undecided: Undecided) -> Report:
    if report.outcome == "pass":
        return report
    lines = [f"{one.state}: {one.subject}: {one.reason}" for one in report.findings if one.outcome != "pass"]
    told = "\n".join([report.headline, *lines])
    if report.outcome == "undecided" and undecided == "skip":
        pytest.skip(told)
    pytest.fail(told, pytrace=False)
