"""The study of a sweep with faults sees what is missing and what ended otherwise than it should."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from rows import make_row

from lbench.results import Writer
from lbench.suite import load

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(STUDIES))
    import faulty_sweep

    shutil.copy(faulty_sweep.FUNCTIONS, tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("faulty.toml").write_text(faulty_sweep.suite_text("cpu"))
    yield faulty_sweep
    del sys.modules["faulty_sweep"]


def problems(study: Any, spent: dict[str, float], verdicts: dict[str, str], left_out: str = "") -> list[str]:
    """Of a sweep whose rows have these verdicts where their key holds the text, and `ok` elsewhere."""
    writer = Writer(Path("out"))
    writer.document("runs", "r1", {"spent": spent})
    for case in load("faulty.toml").cases("cpu"):
        if not left_out or left_out not in case.key:
            said = [verdict for text, verdict in verdicts.items() if text in case.key]
            writer.append(dataclasses.replace(make_row(said[0] if said else "ok"), case=case))
    return study.problems(Path("out"), Path("faulty.toml"), "cpu")


INJECTED = {":crashes,fwd,b1,t256": "crashed", ":hangs,fwd,b1,t256": "timeout"}
INJECTED |= {":takes_all_memory,fwd,b1,t256": "out_of_memory", ":hangs,fwd,b1,t1024": "skipped"}
SPENT = {"wall": 100.0, "sampling": 80.0, "lost": 15.0}


def test_a_complete_sweep_has_no_problems(study: Any) -> None:
    assert problems(study, SPENT, INJECTED) == []


def test_a_row_that_is_missing_is_told(study: Any) -> None:
    (told,) = problems(study, SPENT, INJECTED, left_out="softmax_eager,fwd,b1,t64,")
    assert told.startswith("no row: softmax_eager,fwd,b1,t64,")


def test_what_ended_otherwise_is_told(study: Any) -> None:
    told = problems(study, SPENT, {**INJECTED, ":crashes,fwd,b1,t256": "ok", ":crashes,fwd,b1,t64": "failed"})
    assert len(told) == 2
    assert all(":crashes,fwd,b1" in line for line in told)


def test_time_that_nothing_accounts_for_is_told(study: Any) -> None:
    assert problems(study, {**SPENT, "sampling": 70.0}, INJECTED) == ["the rest is 15% of the wall time"]
