"""The sweep against scripted workers: every case gets its row, whatever the worker does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbench import results
from lbench.isolation import Died, TimedOut
from lbench.results import Writer
from lbench.runner import Device, Sweep, probe
from lbench.suite import Suite

DEVICE = Device(
    device="cpu", environment={"gpu": None, "cpu": "a CPU", "memory_mib": 1000}, copy_bandwidth_gb_s=10.0
)
OK = {
    "verdict": "ok",
    "times_ms": [1.0] * 10,
    "enqueue_us": [1.0],
    "first_call_s": 0.1,
    "verify_s": 0.0,
    "memory": {"inputs": 1, "outputs": 1, "gradients": 0, "peak": 1},
}


class ScriptedWorker:
    """Answers from a script: length -> outcome or exception; `ok` where it says nothing."""

    def __init__(self, script: dict[int, Any], log: list[str]) -> None:
        self.script, self.log = script, log
        log.append("start")

    def ask(self, request, timeout_s):
        length = request["case"]["seq_len"]
        self.log.append(f"{request['case']['backend']} {length}")
        outcome = self.script.get(length, OK)
        if isinstance(outcome, Exception):
            raise outcome
        return dict(outcome)

    def close(self):
        self.log.append("close")


def make_sweep(
    folder: Path, script: dict[int, Any], log: list[str], resume: bool = False, **axes: Any
) -> Sweep:
    axes = {"backend": ["lightning_eager"], "seq": "1k..8k", "dtype": "fp32", **axes}
    suite = Suite(name="test", sweeps=(axes,))
    return Sweep(
        suite=suite,
        cases=suite.cases("cpu"),
        device=DEVICE,
        writer=Writer(folder),
        earlier=results.read(folder) if resume else None,
        make_worker=lambda: ScriptedWorker(script, log),
    )


def test_a_sweep_writes_a_row_a_case_and_keeps_its_worker(tmp_path: Path) -> None:
    log: list[str] = []
    rows = list(make_sweep(tmp_path, {}, log).measure())
    assert [row.case.seq_len for row in rows] == [1024, 2048, 4096, 8192]
    assert log.count("start") == 1
    assert log[-1] == "close"
    assert list(results.read(tmp_path).rows.values()) == rows


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        (Died("the worker ended with signal SIGSEGV"), "crashed"),
        (TimedOut("no answer in 300 s"), "timeout"),
        ({"verdict": "failed", "reason": "in set-up: ValueError: no"}, "failed"),
        ({"verdict": "out_of_memory", "reason": "in the first call"}, "out_of_memory"),
    ],
)
def test_a_fault_is_a_row_and_the_next_case_has_a_new_worker(
    tmp_path: Path, fault: Any, verdict: str
) -> None:
    log: list[str] = []
    rows = list(make_sweep(tmp_path, {2048: fault}, log).measure())
    assert rows[1].verdict == verdict
    assert len(rows) == 4
    assert rows[1].reason
    settled = verdict in ("timeout", "out_of_memory")
    assert [row.verdict for row in rows[2:]] == (["skipped"] * 2 if settled else ["ok"] * 2)
    assert log.count("start") == (1 if settled else 2)
    assert log.count("close") == log.count("start")


def test_each_backend_has_its_own_worker(tmp_path: Path) -> None:
    log: list[str] = []
    list(make_sweep(tmp_path, {}, log, backend=["lightning_eager", "softmax_eager"]).measure())
    assert log.count("start") == 2


def test_a_resume_measures_only_what_has_no_final_row(tmp_path: Path) -> None:
    first: list[str] = []
    sweep = make_sweep(tmp_path, {}, first)
    rows = sweep.measure()
    next(rows), next(rows)
    rows.close()
    assert first[-1] == "close"
    second: list[str] = []
    resumed = make_sweep(tmp_path, {}, second, resume=True)
    assert [case.seq_len for case in resumed.todo] == [4096, 8192]
    list(resumed.measure())
    assert len(results.read(tmp_path).rows) == 4
    assert second == ["start", "lightning_eager 4096", "lightning_eager 8192", "close"]


def test_limits_need_no_worker(tmp_path: Path) -> None:
    log: list[str] = []
    rows = list(make_sweep(tmp_path, {}, log, backend=["lightning_triton"]).measure())
    assert {row.verdict for row in rows} == {"unsupported"}
    assert "device cpu (has cuda)" in rows[0].reason
    assert not log


def test_rows_name_a_run_that_holds_suite_commit_and_ceiling(tmp_path: Path) -> None:
    rows = list(make_sweep(tmp_path, {}, []).measure())
    kept = results.read(tmp_path)
    run = kept.runs[rows[0].run]
    assert run["suite"]["sweep"][0]["seq"] == "1k..8k"
    assert run["copy_bandwidth_gb_s"] == 10.0
    assert kept.environments[run["environment"]]["cpu"] == "a CPU"


def test_a_device_that_is_not_there_is_a_usage_error() -> None:
    class Refuses:
        def ask(self, request, timeout_s):
            return {"usage_error": "device 'cuda': torch finds no NVIDIA GPU"}

        def close(self):
            pass

    with pytest.raises(Exception, match="no NVIDIA GPU"):
        probe("cuda", Refuses)
