"""`lbench compare --revs`: two revisions in worktrees, in turn, with one harness."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lbench import revisions
from lbench.errors import UsageError
from lbench.revisions import Revision

Cli = Callable[..., tuple[int, str, str]]
SUITE = """
[stopping]
budget_s = 0.02
[[sweep]]
backend = "mine.py:attention"
mechanism = "lightning"
seq = 64
heads = 1
head_dim = 16
dtype = "fp32"
"""
CODE = """
import torch
from helper import REPEATS

def attention(q, k, v, slopes):
    t = torch.arange(q.shape[1], dtype=torch.float32)
    gap = (t[:, None] - t[None, :]).clamp(min=0)
    for _ in range(REPEATS):
        decay = torch.exp(-slopes[:, None, None] * gap).tril()
    scores = torch.einsum("bthd,bshd->bhts", q, k) * decay
    return torch.einsum("bhts,bshe->bthe", scores, v)
"""


def git(place: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=place, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits: the second one does something 60 times."""
    place = tmp_path / "repository"
    place.mkdir()
    git(place, "init", "-q")
    (place / "mine.py").write_text(CODE)
    for repeats in (1, 60):
        (place / "helper.py").write_text(f"REPEATS = {repeats}\n")
        git(place, "add", "-A")
        git(place, "commit", "-qm", f"repeat {repeats} times")
    (place / "gate.toml").write_text(SUITE)
    monkeypatch.chdir(place)
    return place


def test_two_revisions_are_timed_in_turn_and_leave_no_worktree(
    cli: Cli, repository: Path, tmp_path: Path
) -> None:
    arguments = ("--revs", "HEAD~1", "HEAD", "--processes", 1, "--device", "cpu", "--out", tmp_path / "rows")
    code, out, err = cli("compare", "gate.toml", *arguments, "--json")
    assert code == 0, err
    (pair,) = json.loads(out)
    assert pair["verdicts"] == ["ok", "ok"]
    assert pair["ratio"]["ratio"] > 2
    turns = [line.split()[-2] for line in err.splitlines() if "process" in line]
    assert turns == ["HEAD~1", "HEAD"]
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    (run,) = (tmp_path / "rows" / "second" / "1" / "runs").iterdir()
    assert git(repository, "rev-parse", "HEAD").startswith(json.loads(run.read_text())["code_commit"])


def test_a_build_that_fails_is_told_and_leaves_no_worktree(cli: Cli, repository: Path) -> None:
    code, _, err = cli(
        "compare", "gate.toml", "--revs", "HEAD", "HEAD", "--build", "echo no compiler; exit 3"
    )
    assert code == 2
    assert "ended with 3" in err
    assert "no compiler" in err
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_every_round_runs_the_other_way() -> None:
    both = [Revision(name=name, commit=name, folder=Path(name)) for name in "ab"]
    turns = "".join(one.name for _, one in revisions.order(both, 4))
    assert turns == "abbaabba"


def test_a_revision_that_brings_lbench_is_refused(repository: Path) -> None:
    (repository / "lbench").mkdir()
    (repository / "lbench" / "__init__.py").touch()
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "a copy")
    with (
        pytest.raises(UsageError, match="--path kernels"),
        revisions.checked_out(["HEAD"], ["."], "", lambda _: None),
    ):
        pass
    assert len(git(repository, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("gate.toml", "--revs", "HEAD", "no-such"), "no-such"),
        (("none.toml", "--revs", "HEAD", "HEAD"), "none.toml"),
        (("a", "b", "--revs", "HEAD", "HEAD"), "not two folders"),
        (("gate.toml", "--revs", "HEAD", "HEAD", "--path", "src"), "no such folder"),
        (("only",), "two result folders"),
        ((), "two result folders"),
    ],
)
def test_usage(cli: Cli, repository: Path, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = cli("compare", *arguments)
    assert (code, out) == (2, "")
    assert said in err
