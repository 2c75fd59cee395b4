"""The sweep against scripted workers: every case gets its row, whatever the worker does."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from lbench import results, telemetry
from lbench.crew import Crew
from lbench.device import Device, probe
from lbench.isolation import Died, TimedOut
from lbench.plan import Plan
from lbench.results import Writer
from lbench.runner import Sweep
from lbench.suite import Suite

DEVICE = Device(
    device="cpu", environment={"gpu": None, "cpu": "a CPU", "memory_mib": 1000}, copy_bandwidth_gb_s=10.0
)
PREPARED = {
    "verdict": "ok",
    "reason": "",
    "call_s": 1e-3,
    "enqueue_s": 1e-5,
    "enqueue_us": [1.0],
    "first_call_s": 0.1,
    "verify_s": 0.0,
    "memory": {"inputs": 1, "outputs": 1, "gradients": 0, "peak": 1},
    "spent": {"verify": 0.0, "compile": 0.1},
}
VERIFIED = {"verdict": "ok", "reason": "", "verify_s": 0.0}
ROUND = {
    "verdict": "ok",
    "reason": "",
    "times_ms": [1.0, 1.0],
    "blocks": [{"first": 0, "count": 2, "sm_mhz": 1980, "slowdown": ""}],
    "discarded": {"host-bound": 1},
    "doubts": [],
    "protocol": {"timer": "wall", "l2": "cold"},
    "spent": {"sampling": 0.1},
}


class ScriptedWorker:
    """Answers from a script: (length, what is asked) -> outcome or exception; `ok` where it says nothing.

    What is asked: `prepare`, or the number of a round from 0. A backend before the length means that one.
    """

    def __init__(self, script: dict[Any, Any], log: list[str]) -> None:
        self.script, self.log = script, log
        log.append("start")
        self.process_id = len(log)

    def send(self, request):
        assert request["do"] == "start"

    def receive(self, timeout_s):
        return {}

    def ask(self, request, timeout_s):
        length, backend = request["case"]["seq_len"], request["case"]["backend"]
        asked = request["turn"]["number"] if request["do"] == "round" else "prepare"
        self.log.append(f"{backend} {length} {asked}")
        usual = ROUND if request["do"] == "round" else PREPARED if request["do"] == "prepare" else VERIFIED
        outcome = self.script.get((backend, length, asked), self.script.get((length, asked), usual))
        if isinstance(outcome, BaseException):
            raise outcome
        return dict(outcome)

    def close(self):
        self.log.append("close")


def make_sweep(
    folder: Path, script: dict[Any, Any], log: list[str], resume: bool = False, **axes: Any
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
    rows = list(make_sweep(tmp_path, {(2048, "prepare"): fault}, log).measure())
    assert rows[1].verdict == verdict
    assert len(rows) == 4
    assert rows[1].reason
    settled = verdict in ("timeout", "out_of_memory")
    assert [row.verdict for row in rows[2:]] == (["skipped"] * 2 if settled else ["ok"] * 2)
    assert log.count("start") == (1 if settled else 2)
    assert log.count("close") == log.count("start")


def test_a_budget_counts_the_new_worker_after_a_fault(tmp_path: Path) -> None:
    """What is predicted of the next case when it is let in says that its worker begins again."""
    begun = []

    class Told(Plan):
        def reason_to_skip(self, case, rows):
            begun.append(case.backend in self._begun)
            return super().reason_to_skip(case, rows)

    sweep = make_sweep(tmp_path, {(2048, "prepare"): Died("the worker ended with signal SIGSEGV")}, [])
    sweep.plan = Told(sweep.suite.stopping, 10.0, 1e6)
    list(sweep.measure())
    assert begun == [False, True, False, True]


@pytest.mark.parametrize("asked", ["prepare", 0, 1])
@pytest.mark.parametrize("fits", [True, False])
def test_what_ran_out_of_memory_beside_others_is_measured_again_alone(
    tmp_path: Path, asked: str | int, fits: bool
) -> None:
    """Idle workers keep a context each on the card; without one, or on a CPU, there is nothing to repeat."""
    fault = {"verdict": "out_of_memory", "reason": "no room"}
    others = ["linear_eager", "softmax_eager"]
    for card, company in (("GPU-none", others), ("GPU-none", []), ("", others)):
        log: list[str] = []
        script: dict[Any, Any] = {("lightning_eager", 1024, asked): fault}
        folder = tmp_path / f"{card}{len(company)}"
        sweep = make_sweep(folder, script, log, seq="1k", backend=["lightning_eager", *company])
        sweep.device = dataclasses.replace(DEVICE, uuid=card)
        before = sweep.make_worker

        def alone(before=before, log=log, script=script) -> Any:
            if fits and log.count("start") - log.count("close") == 0 and "close" in log:
                script.clear()
            return before()

        sweep._crew._make = alone
        rows = {row.case.backend: row for row in sweep.measure()}
        assert list(results.read(folder).rows) == [row.case.key for row in rows.values()]
        again = bool(card and company)
        assert rows["lightning_eager"].verdict == ("ok" if fits and again else "out_of_memory")
        assert all(rows[backend].verdict == "ok" for backend in company)
        assert log.count(f"lightning_eager 1024 {asked}") == 1 + again
        assert log.count("close") == log.count("start")


@pytest.mark.parametrize(
    ("asked", "stage"), [("prepare", "compiling and verifying"), (0, "round 1"), (1, "round 2")]
)
def test_a_timeout_names_all_of_the_time_and_its_stage(tmp_path: Path, asked: Any, stage: str) -> None:
    """Whatever was left of it when the worker was asked; the command that runs it again gives it more."""
    sweep = make_sweep(tmp_path, {(8192, asked): TimedOut("no answer in 1 s")}, [])
    row = list(sweep.measure())[-1]
    allowed_s = sweep.suite.cell_timeout_s
    assert row.verdict == "timeout"
    assert re.fullmatch(rf"in {stage}.*: its {allowed_s:g} s are over", row.reason)
    again = row.reproduce({"suite": {"cell_timeout_s": allowed_s}})
    assert float(again.rpartition("--cell-timeout ")[2]) > allowed_s


def test_a_worker_that_is_not_ready_in_time_is_told_as_such(tmp_path: Path) -> None:
    class Slow(ScriptedWorker):
        def receive(self, timeout_s):
            raise TimedOut(f"no answer in {timeout_s:.0f} s")

    sweep = make_sweep(tmp_path, {}, [])
    sweep.make_worker = lambda: Slow({}, [])
    sweep.__post_init__()
    first = next(iter(sweep.measure()))
    assert (first.verdict, first.reason) == ("timeout", "its worker was not ready: no answer in 180 s")


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
    assert (second[0], second[-1]) == ("start", "close")
    asked = [line for line in second if line not in ("start", "close")]
    rounds = ["prepare", 0, 1, 2, 3, 4]
    assert asked == [f"lightning_eager {length} {what}" for length in (4096, 8192) for what in rounds]


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
    assert run["preflight"]["free_disk_mib"] > 0
    assert run["spent"]["sampling"] == pytest.approx(2.0)
    assert run["spent"]["wall"] > 0
    assert kept.environments[run["environment"]]["cpu"] == "a CPU"


def test_a_sweep_that_is_stopped_says_where_its_time_went(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, {(2048, "prepare"): KeyboardInterrupt()}, [])
    with pytest.raises(KeyboardInterrupt):
        list(sweep.measure())
    spent = results.read(tmp_path).runs[sweep.run]["spent"]
    assert spent["sampling"] == pytest.approx(0.5)
    assert spent["wall"] > 0


class Readied:
    """A worker that only notes when it begins and when it is waited for."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        log.append("begin")

    def send(self, request):
        pass

    def receive(self, timeout_s):
        self.log.append("wait")
        return {}

    def close(self):
        pass


@pytest.mark.parametrize(("cores", "begun"), [(2, [2, 2, 4, 4, 5]), (8, [5] * 5), (1, [1, 2, 3, 4, 5])])
def test_workers_begin_side_by_side_so_many_as_there_are_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, begun: list[int]
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    log: list[str] = []
    crew = Crew("cpu", lambda: Readied(log))
    crew.summon("abcde")
    seen = []
    for backend in "abcde":
        crew.start(backend)
        seen.append(log.count("begin"))
    assert seen == begun
    crew.dismiss("c")
    crew.summon("abcde")
    assert crew.start("c") > 0
    assert (log.count("begin"), log.count("wait")) == (6, 6)


def test_a_device_that_is_not_there_is_a_usage_error() -> None:
    class Refuses:
        def ask(self, request, timeout_s):
            return {"usage_error": "device 'cuda': torch finds no NVIDIA GPU"}

        def close(self):
            pass

    with pytest.raises(Exception, match="no NVIDIA GPU"):
        probe("cuda", Refuses)


TWO = ["lightning_eager", "softmax_eager"]


def asked_in(log: list[str], length: int) -> list[tuple[str, str]]:
    lines = (line.split() for line in log if line not in ("start", "close"))
    return [(backend, what) for backend, at, what in lines if int(at) == length]


def test_cases_of_one_length_are_all_prepared_before_the_first_round(tmp_path: Path) -> None:
    log: list[str] = []
    list(make_sweep(tmp_path, {}, log, backend=TWO).measure())
    for length in (1024, 2048, 4096, 8192):
        asked = [what for _, what in asked_in(log, length)]
        assert asked[:2] == ["prepare"] * 2
        # Two backends and the twin of one of them, five rounds each.
        assert asked[2:] == sorted(asked[2:])
        assert len(asked) == 2 + 3 * 5


def test_whoever_begins_a_round_changes(tmp_path: Path) -> None:
    log: list[str] = []
    script = {("softmax_eager", 1024, "prepare"): {**PREPARED, "call_s": 2e-3}}
    list(make_sweep(tmp_path, script, log, backend=TWO, seq="1k").measure())
    turns = [backend.partition("_")[0] for backend, what in asked_in(log, 1024) if what != "prepare"]
    assert [turns[index : index + 3] for index in range(0, 15, 3)] == [
        ["lightning", "softmax", "lightning"],  # the last one is the quicker backend's twin
        ["lightning", "softmax", "lightning"],
        ["softmax", "lightning", "lightning"],
        ["lightning", "lightning", "softmax"],
        ["lightning", "lightning", "softmax"],
    ]


def test_a_row_holds_all_rounds_and_the_twin_of_the_quickest(tmp_path: Path) -> None:
    script = {("softmax_eager", 1024, "prepare"): {**PREPARED, "call_s": 2e-3}}
    rows = {
        row.case.backend: row for row in make_sweep(tmp_path, script, [], backend=TWO, seq="1k").measure()
    }
    ours = rows["lightning_eager"]
    assert ours.rounds == (0, 2, 4, 6, 8)
    assert len(ours.times_ms) == 10
    assert [block["first"] for block in ours.blocks] == [0, 2, 4, 6, 8]
    assert ours.discarded == {"host-bound": 5}
    assert ours.spent["sampling"] == pytest.approx(0.5)
    assert ours.spent["start_up"] > 0
    assert ours.twin == {"times_ms": [1.0] * 10, "rounds": [0, 2, 4, 6, 8]}
    assert not rows["softmax_eager"].twin
    assert (tmp_path / "protocols" / f"{ours.protocol}.json").is_file()


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        (Died("the worker ended with signal SIGSEGV"), "crashed"),
        (TimedOut("no answer in 300 s"), "timeout"),
        ({"verdict": "failed", "reason": "in round 3: ValueError: no"}, "failed"),
    ],
)
def test_a_fault_in_a_round_costs_that_case_alone(tmp_path: Path, fault: Any, verdict: str) -> None:
    log: list[str] = []
    script = {("softmax_eager", 1024, 2): fault}
    rows = list(make_sweep(tmp_path, script, log, backend=TWO, seq="1k,2k").measure())
    found = {(row.case.backend, row.case.seq_len): row for row in rows}
    lost = found.pop(("softmax_eager", 1024))
    assert lost.verdict == verdict
    assert "round 3" in lost.reason
    assert not lost.times_ms
    if verdict == "timeout":
        assert found.pop(("softmax_eager", 2048)).verdict == "skipped"
    assert all(row.verdict == "ok" and len(row.times_ms) == 10 for row in found.values())
    assert len(results.read(tmp_path).rows) == 4
    # The worker that failed is replaced where it is needed again; the other one stays.
    assert log.count("start") == (2 if verdict == "timeout" else 3)


def test_a_backend_whose_last_case_is_done_gives_its_process_up(tmp_path: Path) -> None:
    log: list[str] = []
    suite = Suite(
        name="test",
        sweeps=(
            {"backend": ["lightning_eager"], "seq": "1k,2k", "dtype": "fp32"},
            {"backend": ["softmax_eager"], "seq": "1k", "dtype": "fp32"},
        ),
    )
    sweep = make_sweep(tmp_path, {}, log)
    sweep.cases = suite.cases("cpu")
    list(sweep.measure())
    assert log.index("close") < log.index("lightning_eager 2048 prepare")


def test_slow_calls_take_fewer_rounds_and_very_slow_ones_no_twin(tmp_path: Path) -> None:
    log: list[str] = []
    script = {
        ("lightning_eager", 1024, "prepare"): {**PREPARED, "call_s": 6.0},
        ("softmax_eager", 1024, "prepare"): {**PREPARED, "call_s": 7.0},
    }
    rows = list(make_sweep(tmp_path, script, log, backend=TWO, seq="1k").measure())
    assert [len(row.rounds) for row in rows] == [2, 2]
    assert not any(row.twin for row in rows)


class Card(telemetry.NvmlTelemetry):
    """A GPU on which these processes compute."""

    def __init__(self, processes: set[int]) -> None:
        self._processes = processes

    def processes(self) -> set[int]:
        return self._processes

    def settings(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("strangers", [0, 2])
def test_processes_that_are_no_workers_of_ours_are_a_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strangers: int
) -> None:
    sweep = make_sweep(tmp_path, {}, [], seq="1k", backend=TWO)
    sweep.device = dataclasses.replace(DEVICE, uuid="GPU-none")

    def of_gpu(uuid: str) -> Card:
        return Card(sweep._crew.process_ids | set(range(100, 100 + strangers)))

    monkeypatch.setattr(telemetry, "of_gpu", of_gpu)
    rows = list(sweep.measure())
    assert len(rows) == 2
    assert all(row.doubts == ("another process: 2 on the GPU",) * (strangers > 0) for row in rows)


def test_what_a_worker_finds_undeterministic_is_a_doubt(tmp_path: Path) -> None:
    script = {(1024, "prepare"): {**PREPARED, "deterministic": False}}
    (row,) = make_sweep(tmp_path, script, [], seq="1k").measure()
    assert row.doubts == ("not deterministic",)


def test_a_case_that_fails_in_a_round_takes_its_twin_with_it(tmp_path: Path) -> None:
    log: list[str] = []
    script = {
        ("softmax_eager", 1024, "prepare"): {**PREPARED, "call_s": 2e-3},
        ("lightning_eager", 1024, 1): {"verdict": "failed", "reason": "in round 2: ValueError: no"},
    }
    rows = list(make_sweep(tmp_path, script, log, backend=TWO, seq="1k").measure())
    assert sorted(row.verdict for row in rows) == ["failed", "ok"]
    # Its turn and its twin's in the first round, and the one that failed.
    assert [what for backend, what in asked_in(log, 1024) if backend == "lightning_eager"] == [
        "prepare",
        "0",
        "0",
        "1",
    ]


@pytest.mark.parametrize("turn", range(9))
def test_a_case_that_fails_in_any_turn_has_one_row_and_it_tells_the_failure(
    tmp_path: Path, turn: int
) -> None:
    """That of its twin too, in the last round, when the case itself has taken all of its own."""
    asked = iter(range(9))

    class FailsOnce(ScriptedWorker):
        def ask(self, request, timeout_s):
            if request["do"] == "round" and next(asked) == turn:
                raise Died("the worker ended with exit code 9")
            return super().ask(request, timeout_s)

    slow = {(TWO[0], 1024, "prepare"): {**PREPARED, "call_s": 0.4}}
    slow[TWO[1], 1024, "prepare"] = {**PREPARED, "call_s": 0.3}
    sweep = make_sweep(tmp_path, {}, [], backend=TWO, seq="1k")
    sweep._crew = Crew("cpu", lambda: FailsOnce(slow, []))
    rows = list(sweep.measure())
    assert sorted(row.verdict for row in rows) == ["crashed", "ok"]
    assert len({row.case.key for row in rows}) == 2
    assert list(results.read(tmp_path).rows.values()) == rows


def test_what_was_only_verified_is_timed_by_a_resume(tmp_path: Path) -> None:
    checked = make_sweep(tmp_path, {}, [], seq="1k,2k")
    checked.verify_only = True
    assert all(row.only_verified for row in checked.measure())
    resumed = make_sweep(tmp_path, {}, [], resume=True, seq="1k,2k")
    assert resumed.todo == resumed.cases
    assert all(row.times_ms and not row.only_verified for row in resumed.measure())
    assert make_sweep(tmp_path, {}, [], resume=True, seq="1k,2k").todo == []
