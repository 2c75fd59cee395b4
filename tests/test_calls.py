"""A long call is dear: how many of it a case takes, and for what; that each promise is kept all the same."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from interpreter import told_of_calls
from models.tiny import case_of

from lbench import attest, energy, memory, models, results, worker
from lbench.clock import clock_of
from lbench.measurement import Process
from lbench.model_measurement import prepare_model
from lbench.models.workload import build
from lbench.protocol import Protocol, Stopping
from lbench.results import Row

SAMPLES, ROUNDS = 4, 2
SUITE = f"""
cell_timeout_s = 100
energy = ENERGY
[stopping]
budget_s = 0.0
least = {SAMPLES}
rounds = {ROUNDS}
slow_s = 0.0
slow_least = {SAMPLES}
slow_rounds = {ROUNDS}
warm_up_s = 0.0
long_s = LONG_S
[[sweep]]
"""
SHAPE = {"backend": "lightning_eager", "heads": 2, "head_dim": 8, "seq": 32, "batch": 1, "dtype": "fp32"}
MODEL = {"model": "tnl-tiny", "seq": 32, "batch": 2, "dtype": "fp32"}
SERVED = ["first", "memory", "again"]
AXES = {
    "fwd": ({**SHAPE, "pass": "fwd"}, SERVED),
    "bwd": ({**SHAPE, "pass": "bwd"}, SERVED),
    "fwdbwd": ({**SHAPE, "pass": "fwdbwd"}, SERVED),
    "train": ({**MODEL, "pass": "train"}, ["first", "memory"]),
    "prefill": ({**MODEL, "pass": "prefill"}, SERVED),
    "decode": ({**MODEL, "pass": "decode"}, SERVED),
}
CALLED = {
    "_calls.<locals>.without_gradient",
    "_calls.<locals>.backward",
    "_train.<locals>.backward",
    "_prefill.<locals>.call",
    "_decode.<locals>.call",
}
"""What runs once in every call of a workload, the pass of the memory ledger included."""
PURPOSES = {
    "the first call": "first",
    "the memory pass": "memory",
    "verification": "again",
    "a second call": "again",
    "timing of the host": "host",
    "the metered call": "metered",
    "attestation": "attested",
    "the energy window": "energy",
}


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test saw is forgotten."""
    monkeypatch.setattr(worker, "_process", Process())


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that shows kernels, weighs what it does, and watches memory at no cost."""

    @contextlib.contextmanager
    def seen(device: str) -> Iterator[list[dict[str, Any]]]:
        found: list[dict[str, Any]] = []
        yield found
        found.append({"name": "a_kernel", "count": 1})

    def of(call: Callable[[], Any], device: str) -> tuple[dict[str, Any], ...]:
        call()
        return ({"name": "a_kernel", "count": 1},)

    joules = itertools.count(0, 100)
    monkeypatch.setattr(attest, "kernels_seen", seen)
    monkeypatch.setattr(attest, "kernels_of", of)
    monkeypatch.setattr(energy, "counter_of", lambda device: energy.Counter(lambda: float(next(joules))))
    monkeypatch.setattr(energy, "_idle_w", {"cpu": 80.0})
    monkeypatch.setattr(energy, "WINDOW_S", 0.0)
    monkeypatch.setattr(memory, "slows_calls", lambda device: False)


@contextlib.contextmanager
def counted() -> Iterator[Counter[str]]:
    """Calls of workloads within it by their purpose, told by the interpreter itself."""
    found: Counter[str] = Counter()

    def tell(frame: FrameType) -> None:
        if frame.f_code.co_qualname in CALLED:
            stage = worker._process.stages.name
            inside_checks = worker._process.stages.spent.get("compile") is None and stage == "verification"
            if not inside_checks:  # the mixers of a model, and limits of errors, are no calls of the case
                found[PURPOSES.get(stage, stage.rstrip(" 0123456789"))] += 1

    with told_of_calls(tell):
        yield found


@pytest.fixture
def run(cli: Any, tmp_path: Path) -> Callable[..., tuple[list[Row], Counter[str]]]:
    """Rows of a suite of one sweep, and the calls they took."""

    def measured(
        axes: dict[str, Any], long_s: float = 0.0, energy: str = "true"
    ) -> tuple[list[Row], Counter[str]]:
        suite, out = tmp_path / "counted.toml", tmp_path / "out"
        lines = [f"{name} = {value!r}" for name, value in axes.items()]
        suite.write_text(
            SUITE.replace("LONG_S", str(long_s)).replace("ENERGY", energy) + "\n".join(lines) + "\n"
        )
        with counted() as calls:
            code, _, stderr = cli("run", suite, "--device", "cpu", "--in-process", "--out", out)
        assert code == 0, stderr
        return list(results.read(out).rows.values()), calls

    return measured


@pytest.mark.parametrize("name", AXES)
def test_a_long_call_is_made_for_its_samples_and_three_times_beside(run, on_a_gpu, name: str) -> None:
    axes, purposes = AXES[name]
    (row,), calls = run(axes)
    assert calls == Counter(purposes) + Counter({"round": SAMPLES})
    # What each of them was made for is in the row.
    assert (row.verdict, row.reason, row.deterministic) == ("ok", "", True)
    assert row.errors.keys() == row.limits.keys() != set()
    assert row.memory["peak"] > 0 < row.memory["inputs"]
    assert row.kernels == ({"name": "a_kernel", "count": 1},)
    assert (len(row.times_ms), len(row.rounds)) == (SAMPLES, ROUNDS)
    assert row.energy["calls"] == SAMPLES
    assert row.first_call_s > 0 < row.wall_s
    assert "variants" in row.compile
    assert bool(row.inputs_id) == (not row.case.model)
    assert not row.case.model or 0 < row.model["mixer_ms"] < row.model["metered_ms"]


@pytest.mark.parametrize("name", AXES)
def test_a_short_call_is_made_for_each_purpose_apart(run, on_a_gpu, name: str) -> None:
    (row,), calls = run(AXES[name][0], long_s=60.0)
    assert row.verdict == "ok", row.reason
    expected = {"first", "memory", "again", "host", "attested", "energy", "the warm-up of round", "round"}
    assert set(calls) == expected | ({"metered"} if row.case.model else set())
    assert all(calls[purpose] == 1 for purpose in ("first", "memory", "again", "attested"))
    assert calls["the warm-up of round"] == ROUNDS
    assert calls["round"] == SAMPLES


@pytest.mark.parametrize("long_s", [0.0, 60.0])
def test_a_suite_that_asks_for_no_energy_makes_no_call_for_it(run, on_a_gpu, long_s: float) -> None:
    (row,), calls = run(AXES["fwd"][0], long_s, energy="false")
    assert (row.verdict, row.energy) == ("ok", {})
    assert calls["energy"] == 0
    assert len(row.times_ms) == SAMPLES


def test_on_a_cpu_the_share_of_the_mixer_is_not_taken_while_a_profiler_watches_memory(run) -> None:
    (row,), calls = run(AXES["train"][0])
    assert calls == Counter(first=1, memory=1, again=1, round=SAMPLES)
    assert row.deterministic
    assert 0 < row.model["mixer_ms"] < row.model["metered_ms"]
    assert row.energy == {}, "a CPU has no counter"


FUNCTIONS = """
import itertools
import torch
from lbench.backends.lightning_eager import chunked

CALLS = itertools.count()

def right(q, k, v, slopes):
    return chunked(q, k, v, slopes)

def noisy(q, k, v, slopes):
    return right(q * (1 + 2e-7 * torch.rand_like(q)), k, v, slopes)

def later_wrong(q, k, v, slopes):
    o = right(q, k, v, slopes)
    o[:, 3] *= 1 + 0.5 * (next(CALLS) >= 2)
    return o
"""


@pytest.fixture
def function(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """The axes of a function of one's own."""
    path = tmp_path / "functions.py"
    path.write_text(FUNCTIONS)
    return lambda name: {"backend": f"{path}:{name}", "mechanism": "lightning"}


def test_a_step_that_does_not_repeat_is_made_once_more(run, on_a_gpu, function) -> None:
    (row,), calls = run({**MODEL, "pass": "train", **function("noisy")})
    assert calls == Counter(first=1, memory=1, again=1, round=SAMPLES)
    assert (row.verdict, row.deterministic) == ("ok", False)
    assert "not deterministic" in row.doubts


def test_of_a_mixer_whose_steps_do_not_repeat_none_is_made_once_more_again(run, on_a_gpu, function) -> None:
    """That its bits change is known by then."""
    rows, calls = run({**MODEL, "pass": "train", "seq": "32,64", **function("noisy")})
    assert [row.deterministic for row in rows] == [False, False]
    assert calls == Counter(first=2, memory=2, again=1, round=2 * SAMPLES)


def test_a_later_call_that_is_wrong_is_found(run, on_a_gpu, function) -> None:
    (row,), calls = run({**SHAPE, "pass": "fwd", **function("later_wrong")})
    assert (row.verdict, row.reason[:18]) == ("wrong", "in a later call: o")
    assert calls == Counter(SERVED)


def test_a_fallback_is_looked_for_once_more(run, on_a_gpu, monkeypatch) -> None:
    monkeypatch.setattr(attest, "unexpected", lambda *_: "fallback: no kernel is named like that")
    (row,), calls = run(AXES["fwd"][0])
    assert (row.verdict, row.reason[:8]) == ("wrong", "fallback")
    assert calls == Counter([*SERVED, "attested"])


@pytest.mark.parametrize(("long_s", "pairs"), [(0.0, 1), (60.0, 3)])
def test_of_long_calls_one_pair_a_sweep_is_measured_as_two(run, on_a_gpu, long_s, pairs) -> None:
    axes = {**SHAPE, "pass": "fwd", "backend": ["lightning_eager", "softmax_eager"], "seq": "16,32,64"}
    rows, calls = run(axes, long_s=long_s)
    assert [bool(row.twin) for row in rows].count(True) == pairs
    assert calls["round"] == SAMPLES * (len(rows) + pairs)


@pytest.mark.parametrize("name", ["tnl-tiny", "llama-tiny", "mamba2-tiny"])
def test_a_step_that_begins_again_gives_the_very_same(name: str) -> None:
    mechanism = models.load(name).mechanism
    case = case_of(name, "native", mechanism, pass_name="train", batch=2, seq_len=32)
    work = build(case, "cpu")
    first = attest.digest(work.traces(work.call()))
    after = attest.digest(dict(enumerate(work.decoder.parameters)))
    moved = attest.digest(work.traces(work.call()))
    work.begin_again()
    assert attest.digest(work.traces(work.call())) == first != moved
    assert attest.digest(dict(enumerate(work.decoder.parameters))) == after


@pytest.mark.gpu
def test_a_round_of_long_calls_begins_with_the_memory_that_they_need() -> None:
    """So the first sample of a round need not wait for the driver, though nothing was warmed up."""
    import torch

    case = models.fields_of("tnl-385m", "lightning_triton", "lightning", "native", "", "cuda")
    case = dataclasses.replace(case, pass_name="train", seq_len=2048, batch=8, checkpoint="block")
    process, outcome = Process(), {}
    protocol = Protocol(stopping=Stopping(long_s=0.0, slow_s=0.0, slow_least=2, slow_rounds=1))
    prepare_model(case, "cuda:0", protocol, process, outcome)
    assert outcome["verdict"] == "ok", outcome["reason"]
    memory.give_back()
    work, clock = build(case, "cuda:0"), clock_of("cuda:0")
    memory.reserve(process.segments[case.key], "cuda:0")
    before = torch.cuda.memory_stats()["segment.all.allocated"]
    clock.read(work.call, 1)
    taken = torch.cuda.memory_stats()["segment.all.allocated"] - before
    assert taken <= 0.1 * len(process.segments[case.key]) + 2
