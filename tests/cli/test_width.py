"""Output keeps to the terminal's width; what is to be copied stays on one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lbench import terminal

Cli = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]
KEPT = ROOT / "results" / "headline-h100-2026-11-22"
REPLAY = ("--device", f"replay:{KEPT}", "--in-process")
SOFTMAX = ("--backend", "softmax_eager,lightning_triton", "--pass", "fwd", "--seq", "1k,32k")
TINY = ("--seq", "16", "--heads", "2", "--head-dim", "16", "--dtype", "fp32", "--device", "cpu")
COMMANDS = {
    "run": ("run", "headline", *SOFTMAX, *REPLAY, "--out", "out"),
    "verify": ("verify", "--mechanism", "gated_deltanet,lightning", *TINY, "--pass", "fwd", "--in-process"),
    "frontier": ("frontier", "--of", KEPT, "--pass", "fwdbwd", "--out", "figures"),
    "regression": ("check", "regression", ROOT / "results" / "gate-h100-2026-11-23", "--baseline", "main",
                   "--store", ROOT / "baselines"),
    "baseline": ("baseline", "show", "main", "--store", ROOT / "baselines"),
    "history": ("history", ROOT / "results" / "planted-h100" / "slower"),
    "unknown": ("run", "--backend", "nope"),
    "new": ("new", "backend", "mine"),
    "table": ("table", KEPT, "--pass", "fwdbwd", "--backend", "softmax_eager,lightning_triton"),
    "show": ("show", KEPT),
    "mechanisms": ("list", "mechanisms"),
    "backends": ("list", "backends"),
    "claims": ("claims", "list"),
    "advise": ("advise", KEPT, "--model", "1b", "--seq", "128k"),
    "crossover": ("crossover", "lightning_triton", "softmax_eager", KEPT),
    "certificate": ("certificate", KEPT),
}  # fmt: skip
TO_COPY = re.compile(r"lbench (run|verify) |pip install |\[project\.entry|^wrote |^figure: |^rows: ")
PROSE = "then `lbench run --case a,b --out c`, or pip install 'lbench[fla]'; 0.04 % more"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return 80


@pytest.mark.parametrize("name", COMMANDS)
def test_no_line_is_wider_than_the_terminal_but_those_to_copy(cli: Cli, narrow: int, name: str) -> None:
    _, out, err = cli(*COMMANDS[name])
    lines = (out + err).splitlines()
    assert lines
    assert not [line for line in lines if len(line) > narrow and not TO_COPY.search(line)]


@pytest.mark.parametrize("name", ["run", "table", "show"])
def test_a_command_that_runs_a_case_again_can_be_pasted(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "44")
    monkeypatch.chdir(tmp_path)
    _, out, err = cli(*COMMANDS[name])
    found = re.findall(r"^ +lbench run --case (.*)$", out + err, re.MULTILINE)
    assert found
    assert all(re.search(r",bf16,cuda( --device \S+)?$", key) for key in found)


def test_commands_in_prose_and_numbers_with_their_sign_stay_in_one_piece(narrow: int) -> None:
    for words in range(15, 45):
        text = "x " * words + PROSE
        lines = terminal.wrapped(text)
        assert " ".join(lines) == text
        for held in ("`lbench run --case a,b --out c`", "pip install 'lbench[fla]'", "0.04 %"):
            assert any(held in line for line in lines)


def test_where_nobody_said_how_wide_a_line_stays_whole(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    _, _, err = cli("run", "--backend", "nope")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("name", ["mechanisms", "backends", "claims", "advise", "crossover", "certificate"])
def test_what_is_piped_is_wrapped_nowhere(cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    piped = cli(*COMMANDS[name])[1]
    monkeypatch.setenv("COLUMNS", "50")
    narrow = cli(*COMMANDS[name])[1]
    assert len(piped.splitlines()) < len(narrow.splitlines())
    assert max(map(len, piped.splitlines())) > 80


def test_a_replayed_sweep_gives_no_account_of_time_that_nobody_spent(cli: Cli, narrow: int) -> None:
    code, _, err = cli(*COMMANDS["run"])
    assert code == 0
    assert "replayed: times are those of the kept rows" in err
    assert not re.search(r"start-up|sampling \d", err)


@pytest.mark.parametrize(
    ("count", "noun", "told"), [(1, "row", "1 row"), (0, "row", "0 rows"), (2, "process", "2 processes")]
)
def test_one_is_no_plural(count: int, noun: str, told: str) -> None:
    assert terminal.counted(count, noun) == told
