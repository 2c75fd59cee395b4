"""What takes the kept results again names suites, claims, studies and options that there are."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]
EVIDENCE = ROOT / "studies" / "evidence.mk"
TARGETS = re.findall(
    r"[\w-]+", " ".join(re.findall(r"^(?:SUITES|CLAIMS|STUDIES) = (.*)", EVIDENCE.read_text(), re.MULTILINE))
)
OTHERS = ("gate", "frontier", "profiles", "tests")


def commands(target: str, **variables: str) -> list[list[str]]:
    """The commands of a target, without the interpreter before them."""
    made = [f"{name}={value}" for name, value in variables.items()]
    done = subprocess.run(
        ["make", "-n", "-f", EVIDENCE, target, "PYTHON=python", *made],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("python")]


def test_every_target_has_commands() -> None:
    assert len(TARGETS) == len(set(TARGETS)) == 16
    declared = re.search(r"^\.PHONY: (.*)", EVIDENCE.read_text(), re.MULTILINE)
    assert declared
    assert declared[1].split()[3:] == list(OTHERS)


@pytest.mark.parametrize("target", [*TARGETS, "frontier"])
def test_a_target_asks_for_what_there_is(
    cli: Cli, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    given = {"OUT": str(tmp_path), "BUDGET": "9m", "STOP_AFTER": "500", "MORE": "--other-environment"}
    (words,) = commands(target, **given)
    if words[:2] == ["-m", "lbench"]:
        small = ("--device", f"replay:{ROOT}/results/headline-h100-2026-11-22")
        small += ("--in-process", "--largest", "1k") if target == "frontier" else ("--dry-run",)
        code, _, err = cli(*words[2:], *small)
        assert code == 0, err
        return
    told = subprocess.run([sys.executable, words[0], "--help"], capture_output=True, text=True, check=True)
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[\w-]+", told.stdout))
