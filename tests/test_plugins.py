"""A package that adds a backend through its entry points, installed for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lbench

EXAMPLE = Path(__file__).parent / "example_package"
SIZES = ("--seq", "16", "--heads", "2", "--head-dim", "8", "--dtype", "fp32", "--device", "cpu")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example installed; its source is copied, as a build writes beside it."""
    place = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, place / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(place / "site"), str(place / "source")], check=True)
    return place / "site"


def run(site: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    above = Path(lbench.__file__).parent.parent
    paths = (str(site), str(above), str(above / "kernels"))
    return subprocess.run(
        [sys.executable, "-m", "lbench", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_backend_is_listed_and_what_cannot_be_used_is_told(site: Path) -> None:
    done = run(site, "list", "--json")
    names = [record["name"] for record in json.loads(done.stdout)]
    assert "example_lightning" in names
    assert names.count("sdpa_flash") == 1
    told = done.stderr.splitlines()
    assert len(told) == 3
    for name, why in (
        ("sdpa_flash", "another backend of that name"),
        ("example_broken", "No module named 'surely_not_installed'"),
        ("example_number", "is a int, not a Backend"),
    ):
        assert any(f"{name!r} of package lbench-example is left out" in line and why in line for line in told)


def test_its_backend_is_verified_and_timed_as_any_other(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    where = ("--backend", "example_lightning,lightning_eager", "--pass", "fwdbwd", *SIZES)
    done = run(site, "run", *where, "--case-budget", "0.01", "--out", out)
    assert done.returncode == 0, done.stderr
    rows = lbench.load(out).set_index("backend")
    assert rows["verdict"].to_dict() == {"example_lightning": "ok", "lightning_eager": "ok"}
    assert rows["inputs_id"].nunique() == 1


def test_a_broken_one_that_is_asked_for_says_why(site: Path) -> None:
    done = run(site, "run", "--backend", "example_broken", *SIZES)
    assert done.returncode == 2
    assert "lbench_example.broken:BACKEND cannot be imported" in done.stderr
    assert "Traceback" not in done.stderr
