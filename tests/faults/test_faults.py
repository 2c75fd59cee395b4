"""Every line of the fault table: its verdict, no row lost or written twice, a resume that completes."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import experiments
from experiments import Experiment
from table import FAULTS, Fault, markdown

from lbench.results import Row
from lbench.validate import problems

DESIGN = Path(__file__).parents[2] / "DESIGN.md"
EXITS = {"exit 130 within 2 s": 130, "exit 130": 130, "exit 1 at the first row": 1}


@pytest.fixture(scope="module")
def conducted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Experiment]:
    """Each experiment once."""

    @functools.cache
    def conduct(name: str) -> Experiment:
        return getattr(experiments, name)(tmp_path_factory.mktemp(name))

    return conduct


def parameters() -> list[object]:
    # One worker takes all lines of an experiment (tests/sharing.py), so that it is conducted once.
    return [
        pytest.param(
            fault, id=f"{fault.experiment}: {fault.name}", marks=[pytest.mark.gpu] if fault.gpu else []
        )
        for fault in FAULTS
    ]


@pytest.mark.parametrize("fault", parameters())
def test_fault(fault: Fault, conducted: Callable[[str], Experiment]) -> None:
    done = conducted(fault.experiment)
    if fault.case:
        check_case(fault, done)
    else:
        check_run(fault, done)
    lines = [line for line in (done.folder / "rows.jsonl").read_bytes().split(b"\n") if line]
    assert len(lines) == len(set(lines)), "a row is written twice"
    assert done.codes[-1] == 0, done.resumed_said
    assert set(done.resumed) == done.cases
    assert {row.verdict for row in done.resumed.values()} == {"ok"}
    if fault.experiment != "flipped":
        assert not problems(done.folder)


def check_case(fault: Fault, done: Experiment) -> None:
    (key,) = [key for key in done.cases if fault.case in key]
    row = done.first[key]
    assert (row.verdict, fault.told in told(row)) == (fault.outcome, True), told(row)
    assert set(done.first) == done.cases, "rows are lost"
    assert done.codes == [0, 0], done.said
    if row.verdict != "ok":
        assert row.reproduce({}).partition(" --case ")[2] in done.said
    faulty = {
        key
        for other in FAULTS
        if other.experiment == fault.experiment
        for key in done.cases
        if other.case in key
    }
    assert {done.first[key].verdict for key in done.cases - faulty} == {"ok"}


def told(row: Row) -> str:
    discarded = [f"{count} discarded: {reason}" for reason, count in row.discarded.items()]
    return "; ".join([row.reason, *row.doubts, *discarded])


def check_run(fault: Fault, done: Experiment) -> None:
    assert fault.told in done.said
    assert len(done.first) >= done.ended, "rows are lost"
    assert done.first.items() <= done.resumed.items(), "a row was measured again that was there"
    assert sorted(done.keys) == sorted(done.cases), "a case has two rows"
    if fault.outcome in EXITS:
        assert set(done.codes[:-1]) == {EXITS[fault.outcome]}, done.said
    if fault.outcome == "exit 1 at the first row":
        check_printed_row(done)


def check_printed_row(done: Experiment) -> None:
    """The row that could not be written is on standard output, whole; nothing was measured after it."""
    row = Row.from_line(done.printed.strip())
    assert row.case.key not in done.first
    assert len(done.first) == done.ended
    assert done.said.strip().splitlines()[-1].startswith("lbench: cannot write to")
    assert "--resume" in done.said
    assert json.loads(done.printed)["key"] == row.case.key


def test_the_table_of_the_design_is_this_one() -> None:
    assert markdown() in DESIGN.read_text(), "python tests/faults/table.py prints the table for DESIGN.md"
