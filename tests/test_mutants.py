"""The mutants: their patterns match, and the study finds one and clears the kernels as they are."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "studies"))

import mutant_calls  # noqa: E402
import mutants as study  # noqa: E402
from mutation import Mismatch, Mutant, load, make, mismatch  # noqa: E402

PROFILES, MUTANTS = load()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutants_pattern_is_in_the_kernels_once(mutant) -> None:
    assert mismatch(mutant) == ""
    assert mutant.pattern != mutant.to
    assert mutant.profile in PROFILES


def test_every_profile_calls_the_kernels_in_a_way_there_is() -> None:
    assert all(callable(getattr(mutant_calls, profile.call)) for profile in PROFILES.values())
    assert all(profile.device == "cuda" for profile in PROFILES.values() if profile.path == "hopper")


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    on_any_machine = [mutant for mutant in MUTANTS if not PROFILES[mutant.profile].device]
    assert len(on_any_machine) >= 20
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_a_pattern_that_is_gone_fails_loudly(tmp_path: Path) -> None:
    stale = dataclasses.replace(MUTANTS[0], pattern="no such line")
    assert "has its pattern 0 times, it must once" in mismatch(stale)
    with pytest.raises(Mismatch):
        make(stale, PROFILES[stale.profile], tmp_path)


@pytest.mark.parametrize(
    ("verdict", "survives", "outcome", "as_it_should"),
    [
        ("wrong", "", "found", True),
        ("timeout", "", "not judged", False),
        ("ok", "", "survived", False),
        ("ok", "costs time only", "survived", True),
        ("crashed", "costs time only", "not judged", False),
    ],
)
def test_a_mutant_is_judged_by_its_verdict_and_whether_it_may_survive(
    verdict: str, survives: str, outcome: str, as_it_should: bool
) -> None:
    mutant = dataclasses.replace(MUTANTS[0], survives=survives)
    finding = study.judge(mutant, [SimpleNamespace(verdict=verdict, reason="o is off")], None)
    assert (finding.outcome, finding.as_it_should) == (outcome, as_it_should)


@pytest.mark.parametrize("verdict", ["timeout", "failed", "crashed"])
def test_a_hang_or_an_error_counts_as_found_where_a_mutant_may_break(verdict: str) -> None:
    row = SimpleNamespace(verdict=verdict, reason="no answer in 120 s")
    for may_break, outcome in ((True, "found"), (False, "not judged")):
        mutant = dataclasses.replace(MUTANTS[0], may_break=may_break)
        assert study.judge(mutant, [row], None).outcome == outcome


def test_without_a_gpu_what_needs_one_is_listed_as_not_run(tmp_path: Path) -> None:
    needy = [mutant for mutant in MUTANTS if PROFILES[mutant.profile].device == "cuda"]
    findings = study.study(PROFILES, needy, "cpu", tmp_path)
    assert {finding.outcome for finding in findings} == {"not run"}
    assert all(finding.as_it_should for finding in findings)
    assert "hopper_fill_unseen" in study.summary(findings)


def test_findings_are_kept_profile_by_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    some = [mutant for mutant in MUTANTS if mutant.profile in ("square", "scaled")]

    def judged(profile, mutants, *_):
        if profile.name == "scaled":
            raise SystemExit("killed")
        return {mutant.name: study.judge(mutant, [], None) for mutant in mutants}

    monkeypatch.setattr(study, "judge_profile", judged)
    kept: list[list[study.Finding]] = []
    with pytest.raises(SystemExit):
        study.study(PROFILES, some, "cpu", tmp_path, keep=kept.append)
    (findings,) = kept
    assert [finding.name for finding in findings] == [mutant.name for mutant in some]
    assert {finding.profile for finding in findings if finding.reason == "not reached"} == {"scaled"}
    assert not any(finding.as_it_should for finding in findings)


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


@pytest.mark.parametrize(
    ("profile", "slopes", "length"),
    [("carried", [2.0**-4, 2.0**-8], 300), ("hopper_cuts", [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8], 4000)],
)
def test_a_profile_of_carried_states_carries_them(
    monkeypatch: pytest.MonkeyPatch, profile: str, slopes: list[float], length: int
) -> None:
    from lightning_attention import shares

    for name in ("LEAST_LIMIT", "choose_programs"):
        monkeypatch.setattr(shares, name, getattr(shares, name))
    monkeypatch.setattr(shares, "cut_kernel", defaultdict(lambda: lambda *_, **__: None))  # the host decides
    namespace: dict[str, object] = {}
    for line in PROFILES[profile].setup:
        exec(line.format(package="lightning_attention"), namespace)
    with shares.nothing_kept():
        assert shares.share_out(torch.tensor(slopes), None, 1, length, 132, torch.bfloat16).carries
