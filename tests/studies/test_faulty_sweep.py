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


def problems(study: Any, runs: list[Any], verdicts: dict[str, str], left_out: str = "") -> list[str]:
    """Of a sweep whose rows have these verdicts where their key holds the text, and `ok` elsewhere."""
    writer = Writer(Path("out"))
    for number, run in enumerate(runs):
        writer.document("runs", f"r{number}", run)
    for case in load("faulty.toml").cases("cpu"):
        if not left_out or left_out not in case.key:
            said = [verdict for text, verdict in verdicts.items() if text in case.key]
            lost = {"lost": 15.0} if said == ["timeout"] else {}
            row = make_row(said[0] if said else "ok")
            writer.append(dataclasses.replace(row, case=case, spent=lost))
    writer.close()
    return study.problems(Path("out"), Path("faulty.toml"), "cpu")


INJECTED = {":crashes,fwd,b1,t256": "crashed", ":hangs,fwd,b1,t256": "timeout"}
INJECTED |= {":takes_all_memory,fwd,b1,t256": "out_of_memory", ":hangs,fwd,b1,t1024": "skipped"}
SPENT = {"wall": 100.0, "sampling": 80.0, "lost": 15.0}
RUNS = [{"spent": SPENT}]


def test_a_complete_sweep_has_no_problems(study: Any) -> None:
    assert problems(study, RUNS, INJECTED) == []


def test_a_row_that_is_missing_is_told(study: Any) -> None:
    (told,) = problems(study, RUNS, INJECTED, left_out="softmax_eager,fwd,b1,t64,")
    assert told.startswith("no row: softmax_eager,fwd,b1,t64,")


def test_what_ended_otherwise_is_told(study: Any) -> None:
    told = problems(study, RUNS, {**INJECTED, ":crashes,fwd,b1,t256": "ok", ":crashes,fwd,b1,t64": "failed"})
    assert len(told) == 2
    assert all(":crashes,fwd,b1" in line for line in told)


def test_time_that_nothing_accounts_for_is_told(study: Any) -> None:
    assert problems(study, [{"spent": {**SPENT, "sampling": 70.0}}], INJECTED) == [
        "the rest is 30% of the wall time"
    ]


def test_another_backend_that_did_not_end_well_is_listed(study: Any) -> None:
    verdicts = {**INJECTED, "gla_eager,fwd,b1,t1024": "timeout"}
    spent = {"wall": 100.0, "sampling": 70.0, "lost": 30.0}
    assert problems(study, [{"spent": spent}], verdicts) == ["the rest is 30% of the wall time"]
    told = study.told(Path("out"), Path("faulty.toml"), "cpu", [])
    assert "did not end well:\ngla_eager,fwd,b1,t1024" in told


def test_a_sweep_in_two_commands_is_looked_at_as_one(study: Any) -> None:
    first, second = {"wall": 40.0, "sampling": 38.0}, {"wall": 60.0, "sampling": 43.0, "lost": 15.0}
    assert problems(study, [{"spent": first}, {"spent": second}], INJECTED) == []
    assert "in 2 commands" in study.told(Path("out"), Path("faulty.toml"), "cpu", [])


def test_a_command_that_was_killed_leaves_a_doubt(study: Any) -> None:
    (told,) = problems(study, [{"spent": SPENT}, {}], INJECTED)
    assert told == "run r1 was killed: where its time went is not known"


def test_a_sweep_is_interrupted_when_its_time_is_over_and_says_how_it_ended(study: Any) -> None:
    waits = "trap 'exit 130' INT; while :; do sleep 0.1; done"
    assert study.swept(["sh", "-c", waits], 2.0) == study.INTERRUPTED
    assert study.swept([sys.executable, "-c", "raise SystemExit(3)"], None) == 3
