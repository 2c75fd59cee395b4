"""What workers of pytest-xdist are given at once: what one of them made, the other need not make again."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("xdist", reason="needs pytest-xdist")

from sharing import LONG, ByFile

HERE = Path(__file__).parent


def scope(nodeid: str) -> str:
    return ByFile.__new__(ByFile)._split_scope(nodeid)


def test_a_file_goes_to_one_worker() -> None:
    assert (
        scope("tests/test_docs.py::test_a[x: y]")
        == scope("tests/test_docs.py::test_b")
        == "tests/test_docs.py"
    )


def test_an_experiment_goes_to_one_worker_and_the_next_may_go_to_another() -> None:
    file = "tests/faults/test_faults.py"
    hang, crash, full = (
        f"{file}::test_fault[{one}]" for one in ("kernels: a", "kernels: b: c", "full_disk: d")
    )
    assert scope(hang) == scope(crash) != scope(full)
    assert scope(f"{file}::test_the_table_of_the_design_is_this_one") == file


def test_files_that_take_long_are_there() -> None:
    assert [name for name in LONG if not (HERE / name).is_file()] == []


def test_pytest_asks_for_this_scheduler(pytestconfig: pytest.Config) -> None:
    asked = pytestconfig.hook.pytest_xdist_make_scheduler.get_hookimpls()
    assert [implementation.plugin_name for implementation in asked] == [str(HERE / "conftest.py")]
