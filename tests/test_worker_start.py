"""A worker imports the packages of its backend before its first case; failures are left to that case."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbench import backends, worker
from lbench.backends.spec import Backend

MODULES = {
    "heavy_package": "import os\nSEEN = os.environ.get('LBENCH_TEST_SWITCH')",
    "broken_package": "raise RuntimeError('built for another driver')",
    "leaving_package": "import sys\nsys.exit(3)",
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(os, "environ", {**os.environ})
    kept = backends.load("lightning_eager")
    wanted = ("broken_package", "absent_package", "leaving_package", "heavy_package")
    ours: Backend = dataclasses.replace(kept, packages=wanted, switches={"LBENCH_TEST_SWITCH": "1"})
    monkeypatch.setattr(backends, "load", lambda name, mechanism="": ours)
    yield
    sys.modules.pop("heavy_package", None)


def test_packages_are_imported_under_their_switches_and_what_fails_is_left_to_the_case(packages) -> None:
    assert worker.answer({"do": "start", "device": "cpu", "backend": "ours"}) == {"device": "cpu"}
    assert sys.modules["heavy_package"].SEEN == "1"
    assert "broken_package" not in sys.modules


@pytest.mark.parametrize("backend", ["", "mine.py:attend"])
def test_a_function_of_a_user_is_imported_by_its_case(packages, backend: str) -> None:
    assert worker.answer({"do": "start", "device": "cpu", "backend": backend}) == {"device": "cpu"}
    assert "heavy_package" not in sys.modules
