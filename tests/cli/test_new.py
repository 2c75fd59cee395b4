"""`lbench new` writes files that work as they are, by the very commands it names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from lbench import mechanisms, results
from lbench.cli.new import BODIES

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in re.findall(r"^  (lbench .*)$", text, re.MULTILINE)]


@pytest.mark.parametrize("mechanism", sorted(BODIES))
def test_a_new_backend_verifies(cli: Cli, mechanism: str) -> None:
    code, out, _ = cli("new", "backend", "my_kernel", "--mechanism", mechanism)
    assert code == 0
    verify, *_ = commands(out)
    code, said, err = cli(*verify, "--device", "cpu", "--in-process")
    assert code == 0, said + err
    assert said.count("ok") >= 2


def test_a_new_backend_declares_itself(cli: Cli) -> None:
    spec = mechanisms.load("mamba2")
    assert cli("new", "backend", "my_kernel", "--mechanism", "mamba2")[0] == 0
    names: dict[str, object] = {"__name__": "my_kernel"}
    exec(compile(Path("my_kernel.py").read_text(), "my_kernel.py", "exec"), names)
    backend = names["BACKEND"]
    assert backend.mechanism == "mamba2"
    with pytest.raises(NotImplementedError):
        backend.build(None, dict.fromkeys(spec.constants))(**dict.fromkeys(spec.tensors))


def test_a_new_suite_runs(cli: Cli) -> None:
    code, out, _ = cli("new", "suite", "mine")
    assert code == 0
    plan, run = commands(out)
    assert cli(*plan, "--device", "cpu", "--in-process")[0] == 0
    small = ("--seq", "16,32", "--heads", "2", "--head-dim", "8", "--case-budget", "0.01", "--out", "out")
    code, _, err = cli(*run, *small, "--device", "cpu", "--in-process")
    assert code == 0, err
    assert {row.verdict for row in results.read(Path("out")).rows.values()} == {"ok"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("backend", "sdpa_flash"), "there is a backend sdpa_flash already"),
        (("backend", "My-Kernel"), "lower-case letters"),
        (("backend", "fine", "--mechanism", "lightnin"), "did you mean lightning"),
        (("backend", "taken"), "is there already"),
        (("backend", "fine", "--folder", "nowhere"), "cannot write nowhere/fine.py"),
        (("suite", "headline"), "there is a suite headline already"),
        (("suite", "../up"), "lower-case letters"),
    ],
)
def test_it_refuses_in_one_line(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    Path("taken.py").touch()
    code, out, err = cli("new", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert not Path("fine.py").exists()
