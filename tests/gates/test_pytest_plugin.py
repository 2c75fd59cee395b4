"""The pytest plugin: gates as a fixture, and nothing where it is not used."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from excerpt import EXCERPT
from processes import jitter, keep, keep_two

import lbench

ROOT = Path(lbench.__file__).parent.parent
TESTS = """
def test_clean(lbench_check):
    lbench_check.regression("clean", baseline="baseline")

def test_slower(lbench_check):
    lbench_check.regression("slower", baseline="baseline")

def test_one_process(lbench_check):
    lbench_check.regression("one", baseline="baseline")

def test_one_process_strictly(lbench_check):
    lbench_check.regression("one", baseline="baseline", undecided="fail")

def test_constancy(lbench_check):
    lbench_check.constancy({excerpt!r}, backend="lightning_authors")
"""


def pytest_run(place: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *arguments],
        cwd=place,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}"},
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


# In a checkout that is installed the entry point brings it already.
BROUGHT = any(one.value == "lbench.pytest_plugin" for one in entry_points(group="pytest11"))
ASKED = () if BROUGHT else ("-p", "lbench.pytest_plugin")


def test_what_a_check_says_becomes_of_the_test(baseline: Path, tmp_path: Path) -> None:
    keep_two(tmp_path / "clean")
    keep_two(tmp_path / "slower", 1.1)
    keep(tmp_path / "one", "n100", jitter(100, 1.1))
    (tmp_path / "test_speed.py").write_text(TESTS.format(excerpt=str(EXCERPT)))
    out = pytest_run(tmp_path, *ASKED)
    assert "3 failed, 1 passed, 1 skipped" in out
    assert "regression: fail (4 slower)" in out
    assert "a second one must confirm" in out
    assert "constancy: fail" in out
    assert "Traceback" not in out


def test_without_its_fixture_it_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\ndef test_quiet():\n    assert 'lbench.gates' not in sys.modules\n"
        "    assert 'numpy' not in sys.modules\n"
    )
    assert "1 passed" in pytest_run(tmp_path, *ASKED)


def test_the_wheel_registers_it() -> None:
    import tomllib

    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("not a checkout")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"lbench": "lbench.pytest_plugin"}
