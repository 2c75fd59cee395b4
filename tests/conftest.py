"""Fixtures for all tests."""

from __future__ import annotations

import fcntl
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Two workers share two cores (`make test`): more threads only wait for each other. Read at torch's import.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests start hundreds of processes; without kept bytecode each compiles lbench anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# pytest-xdist sets it: what has no width given prints a line each.
os.environ.pop("COLUMNS", None)

import torch
from hypothesis import settings

# No test is timed: on a busy machine an example may take any time. The same examples each time, as a failure
# is to be the change's; LBENCH_EXAMPLES=1000 draws new ones, so many where a test gives no number.
EXAMPLES = int(os.environ.get("LBENCH_EXAMPLES", "0"))
settings.register_profile("lbench", deadline=None, max_examples=EXAMPLES or 30, derandomize=not EXAMPLES)
settings.load_profile("lbench")
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="session")
def own_locks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests that run side by side time nothing that matters: each session has its device to itself."""
    os.environ["LBENCH_LOCK_FOLDER"] = str(tmp_path_factory.mktemp("locks"))


@pytest.fixture(autouse=True, scope="session")
def hasty_cpu() -> None:
    """No test asserts a time: in-process, the CPU's caches stay warm, and its ceilings are measured once."""
    from lbench import environment
    from lbench.clock import CpuClock

    CpuClock.CACHE_BYTES = 2**12
    ceilings = environment.copy_bandwidth_gb_s, environment.matrix_tflop_s
    environment.copy_bandwidth_gb_s, environment.matrix_tflop_s = map(functools.cache, ceilings)


@pytest.fixture(autouse=True)
def share_of_the_gpu(request: pytest.FixtureRequest) -> Iterator[None]:
    """GPU tests of several workers run side by side; one marked `alone` waits for the GPU to itself."""
    alone = request.node.get_closest_marker("alone")
    if not (alone or request.node.get_closest_marker("gpu")):
        yield
        return
    with (Path(tempfile.gettempdir()) / "lbench-tests-gpu.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    if config.getvalue("dist") != "load":  # asked for another, as `--dist worksteal` for few long files
        return None
    from sharing import ByFile

    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        from sharing import rank

        items.sort(key=lambda item: rank(item.path.as_posix()))
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in-process: `cli("table", folder)` gives (exit code, stdout, stderr)."""
    from lbench.cli.main import main

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
