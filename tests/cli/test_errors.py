"""An error names what was given, and says what to give in its place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbench.case import EXAMPLE, Case
from lbench.cli.axes import NUMBERS
from lbench.errors import UsageError

Cli = Callable[..., tuple[int, str, str]]
RESULTS = Path(__file__).parents[2] / "results"
STORE = RESULTS / "planted-h100" / "baselines"
REGRESSION = ("check", "regression", RESULTS / "gate-h100-2026-11-23", "--baseline")
ERRORS = [
    (
        ("run", "--case", "lightning_eager"),
        f"'lightning_eager' is no key of a case; one looks like {EXAMPLE}",
    ),
    (("run", "--seq", "1k.."), "range '1k..' has no end; write 1k..256k"),
    (("table", RESULTS / "gate-h100-2026-11-23", "--seq", "..4k"), "range '..4k' has no start"),
    (("run", "--device", "gpu", "--backend", "lightning_eager", "--in-process"), "cuda:N and replay:FOLDER"),
    ((*REGRESSION, STORE), f"give --store {STORE} --baseline planted"),
    ((*REGRESSION, RESULTS / "gate-h100-2026-11-23" / "rows.jsonl"), "give the folder that holds rows.jsonl"),
    ((*REGRESSION, "here"), "--baseline here holds no rows.jsonl"),
    ((*REGRESSION, "no/where"), "--baseline no/where: there is no such folder"),
    (("verify", "--backend", "own.py", "--mechanism", "lightning"), "it has own.py:one, own.py:two"),
    (("run", "--backend", "own.py"), "backend own.py needs a function of that file, own.py:NAME"),
    (("list", "claims"), "see `lbench claims list`"),
    (("list", "baselines"), "see `lbench baseline list`"),
    (("run", "guard"), "unknown suite 'guard', but guard.toml is here: `lbench run guard.toml`"),
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    Path("guard.toml").touch()
    Path("own.py").write_text("def one(q, k, v): pass\ndef two(q, k, v): pass\ndef _kept(): pass\n")


@pytest.mark.parametrize(("arguments", "told"), ERRORS, ids=lambda given: str(given[-1])[-24:])
def test_what_was_given_and_what_to_do_is_said(cli: Cli, arguments: tuple[object, ...], told: str) -> None:
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("axis", sorted(NUMBERS))
@pytest.mark.parametrize("value", ["0", "7.5", "-1", "4q"])
def test_a_number_that_is_none_is_told_with_its_option(cli: Cli, axis: str, value: str) -> None:
    option = f"--{axis.replace('_', '-')}"
    code, _, err = cli("run", f"{option}={value}")
    assert code == 2
    assert f"lbench: {option} '{value}'" in err


@given(st.lists(st.text(max_size=12), max_size=4))
def test_no_key_of_a_case_ends_in_a_traceback(parts: list[str]) -> None:
    for key in (",".join(parts), f"lightning_eager,fwd,seed={','.join(parts)}"):
        with contextlib.suppress(UsageError):
            Case.from_key(key, mechanism="lightning")


def test_rows_that_were_verified_alone_are_shown(cli: Cli) -> None:
    tiny = ("--heads", 1, "--head-dim", 16, "--dtype", "fp32", "--device", "cpu", "--in-process")
    assert cli("verify", "--backend", "lightning_eager", "--seq", 16, *tiny, "--out", "vv")[0] == 0
    code, out, err = cli("show", "vv")
    assert (code, err) == (0, "")
    assert "2 rows: 2 ok" in out
    assert "no row has a ns_per_token" in out
    assert cli("table", "vv", "--metric", "error_rms")[0] == 0
    assert cli("report", "vv")[0] == 0
