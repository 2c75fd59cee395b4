"""The mutants: their patterns match, and the study finds one and clears the kernels as they are."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "studies"))

import mutants as study  # noqa: E402
from mutation import Mismatch, Mutant, load, make, mismatch  # noqa: E402

PROFILES, MUTANTS = load()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutants_pattern_is_in_the_kernels_once(mutant) -> None:
    assert mismatch(mutant) == ""
    assert mutant.pattern != mutant.to
    assert mutant.profile in PROFILES


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    assert len(MUTANTS) >= 20
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_a_pattern_that_is_gone_fails_loudly(tmp_path: Path) -> None:
    stale = dataclasses.replace(MUTANTS[0], pattern="no such line")
    assert "has its pattern 0 times, it must once" in mismatch(stale)
    with pytest.raises(Mismatch):
        make(stale, PROFILES[stale.profile], tmp_path)


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="for Triton's interpreter; with a GPU run the study itself"
)
def test_verify_finds_a_mutant_and_clears_the_kernels_as_they_are(tmp_path: Path) -> None:
    profile = dataclasses.replace(
        PROFILES["square"],
        flags=["--pass", "fwd", "--seq", "70", "--heads", "1", "--head-dim", "16", "--dtype", "fp32"],
    )
    control = Mutant(name="unchanged", what="", profile="square")
    (tail,) = [mutant for mutant in MUTANTS if mutant.name == "tail_block_missing"]
    files = [make(mutant, profile, tmp_path) for mutant in (control, tail)]
    assert os.environ.get("TRITON_INTERPRET", "1") == "1"
    rows = study.verify(files, profile, "cpu", tmp_path / "rows")
    assert [row.verdict for row in rows["unchanged"]] == ["ok"], rows["unchanged"]
    finding = study.judge(tail, rows["tail_block_missing"], None)
    assert finding.outcome == "found"
    assert finding.reason.startswith("o: ")
    survivor = study.judge(tail, rows["unchanged"], None)
    assert survivor.outcome == "survived"
    assert "survived: tail_block_missing" in study.summary([survivor])
