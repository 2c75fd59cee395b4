"""An error names what was given, and says what to give in its place."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from lbench.case import EXAMPLE, Case
from lbench.cli.axes import NUMBERS
from lbench.cli.main import COMMANDS
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


READERS = [
    ("plot",),
    ("table",),
    ("show",),
    ("report", "-o", "report.html"),
    ("certificate",),
    ("export",),
    ("merge", "-o", "merged"),
    ("filter", "--verdict", "ok", "-o", "part"),
    ("roofline",),
    ("frontier", "--out", "figures", "--of"),
    ("check", "constancy"),
    ("check", "regression", "--baseline", RESULTS / "gate-h100-2026-11-23"),
    ("baseline", "save", "name"),
    ("compare", RESULTS / "gate-h100-2026-11-23"),
    ("history",),
    ("crossover", "lightning_eager", "softmax_eager"),
]
NOT_FOLDERS = {
    "missing": lambda path: None,
    "file": lambda path: path.write_text("text"),
    "empty": lambda path: path.mkdir(),
    "no rows": lambda path: (path.mkdir(), (path / "rows.jsonl").touch()),
    "garbage": lambda path: (path.mkdir(), (path / "rows.jsonl").write_bytes(bytes(range(256)) * 40)),
}


@pytest.mark.parametrize("what", NOT_FOLDERS)
@pytest.mark.parametrize("command", READERS, ids=lambda command: " ".join(map(str, command[:2])))
def test_every_command_tells_what_holds_no_rows(cli: Cli, command: tuple[object, ...], what: str) -> None:
    NOT_FOLDERS[what](Path("given"))
    before = set(Path().iterdir())
    code, out, err = cli(*command, "given")
    assert (code, out) == (2, "")
    assert re.search("given|no rows? ", err.splitlines()[-1])
    # What cannot be read is told first, however long the file is.
    assert len(err.splitlines()) <= (5 if what == "garbage" else 1)
    assert set(Path().iterdir()) == before


def test_revisions_are_not_measured_into_a_file(cli: Cli) -> None:
    code, _, err = cli("compare", "--revs", "HEAD", "HEAD", "--out", "own.py")
    assert code == 2
    assert "own.py exists" in err


@pytest.mark.parametrize("told", ["", "interrupted; 3 rows are kept"])
def test_an_interrupt_is_told_once(cli: Cli, monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    def interrupted(folder: Path) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            if not told:
                raise
            print(told, file=sys.stderr)
            raise typer.Exit(130) from None

    monkeypatch.setitem(COMMANDS, "show", interrupted)
    assert cli("show", "here") == (130, "", f"{told or 'interrupted'}\n")


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
