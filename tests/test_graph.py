"""Short calls: chains of them over rotating copies of their inputs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lbench import graph, timers, workload
from lbench.case import Case
from lbench.clock import Reading
from lbench.graph import GraphClock, chain_length, copies_of
from lbench.protocol import Protocol
from lbench.timers import Turn

L2_BYTES = 50 * 2**20


@given(st.integers(1, 10**9), st.floats(1e-6, 2e-4))
def test_copies_hold_twice_the_l2_where_they_may_be_so_many(input_bytes: int, call_s: float) -> None:
    copies = copies_of(input_bytes, L2_BYTES, cold=True)
    assert 2 <= copies <= graph.MOST_COPIES
    assert copies * input_bytes >= 2 * L2_BYTES or copies == graph.MOST_COPIES
    length = chain_length(call_s, copies)
    assert length % copies == 0
    assert length * call_s >= graph.CHAIN_S * 0.99 or length + copies > graph.MOST_CALLS
    assert copies_of(input_bytes, L2_BYTES, cold=False) == 1


def test_a_reading_is_the_mean_of_a_chain() -> None:
    replayed = []
    inner = SimpleNamespace(
        read=lambda call, count: [Reading(8.0, host_bound=call() or False) for _ in range(count)]
    )
    clock = GraphClock(inner, lambda: replayed.append(1), calls=16)
    assert [reading.time_ms for reading in clock.read(lambda: 1 / 0, 3)] == [0.5] * 3
    assert len(replayed) == 3


@pytest.mark.parametrize("pass_name", ["fwd", "bwd", "fwdbwd", "decode"])
def test_a_call_on_copied_inputs_gives_the_same_and_shares_nothing(pass_name: str) -> None:
    case = Case(
        backend="lightning_eager",
        mechanism="lightning",
        pass_name=pass_name,
        seq_len=64,
        heads=2,
        head_dim=16,
        dtype="fp32",
        device="cpu",
    )
    work = workload.build(case, "cpu")
    again = work.again()
    first = {name: tensor.clone() for name, tensor in work.outputs(work.call()).items()}
    if pass_name != "decode":  # which writes its state where it read it
        for tensor in work.inputs.tensors.values():
            tensor.detach().zero_()
    second = work.outputs(again())
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor)


def test_a_call_that_cannot_be_captured_is_timed_by_events_and_doubted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared: list[float] = []
    events = SimpleNamespace(wait=lambda: None, prepare=prepared.append)
    monkeypatch.setattr("lbench.clock.clock_of", lambda device, cold: events)
    monkeypatch.setattr("lbench.clock.l2_bytes", lambda device: L2_BYTES)

    def refuse(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nlong story")

    monkeypatch.setattr(graph, "capture", refuse)
    work = SimpleNamespace(call=lambda: None, again=lambda: None, in_graph=False, input_bytes=2**20)
    turn = Turn(number=0, call_s=5e-5, enqueue_s=1e-5)
    clock, used, doubts = timers.clock_for(work, "cuda:0", Protocol(), turn)
    assert clock is events
    assert used.timer == "events"
    assert prepared == [1e-5]
    assert doubts == ["too short: no CUDA graph, so events: operation not permitted when stream is capturing"]


@pytest.mark.parametrize(
    ("call_s", "asked", "timer", "doubted"),
    [
        (5e-5, "auto", "graph", False),
        (5e-4, "auto", "events", False),
        (5e-5, "events", "events", False),
        (5e-4, "graph", "graph", False),
    ],
)
def test_short_calls_take_a_graph(
    call_s: float, asked: str, timer: str, doubted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = SimpleNamespace(wait=lambda: None, prepare=lambda enqueue_s: None)
    monkeypatch.setattr("lbench.clock.clock_of", lambda device, cold: events)
    monkeypatch.setattr("lbench.clock.l2_bytes", lambda device: L2_BYTES)
    monkeypatch.setattr(graph, "capture", lambda calls, length, device: lambda: None)
    copied: list[int] = []
    work = SimpleNamespace(
        call=lambda: None, again=lambda: copied.append(1), in_graph=False, input_bytes=10 * 2**20
    )
    turn = Turn(number=0, call_s=call_s, enqueue_s=1e-5)
    _, used, doubts = timers.clock_for(work, "cuda:0", Protocol(timer=asked), turn)
    assert used.timer == timer
    assert used.input_copies == (10 if timer == "graph" else 1)
    assert len(copied) == (10 if timer == "graph" else 0)
    assert not doubts


def test_copies_that_fit_in_the_l2_are_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    events = SimpleNamespace(wait=lambda: None, prepare=lambda enqueue_s: None)
    monkeypatch.setattr("lbench.clock.clock_of", lambda device, cold: events)
    monkeypatch.setattr("lbench.clock.l2_bytes", lambda device: L2_BYTES)
    monkeypatch.setattr(graph, "capture", lambda calls, length, device: lambda: None)
    work = SimpleNamespace(call=lambda: None, again=lambda: None, in_graph=False, input_bytes=1000)
    turn = Turn(number=0, call_s=5e-6, enqueue_s=1e-5)
    _, _, doubts = timers.clock_for(work, "cuda:0", Protocol(), turn)
    assert doubts == ["L2 warm: 128 copies of the inputs fit in the L2"]
    _, _, doubts = timers.clock_for(work, "cuda:0", Protocol(l2="warm"), turn)
    assert not doubts


@pytest.mark.gpu
def test_a_chain_keeps_what_it_reads() -> None:
    def copied(number: int) -> Any:
        given = torch.full((1 << 24,), float(number), device="cuda:0")
        return lambda: ((torch.add(given, 0.0, out=target),), ())

    target = torch.empty(1 << 24, device="cuda:0")
    replay = graph.capture([copied(1), copied(2)], 2, "cuda:0")
    torch.cuda.empty_cache()
    other = torch.full((1 << 25,), 7.0, device="cuda:0")
    target.zero_()
    replay()
    assert (target == 2.0).all()
    del other


@pytest.mark.gpu
@pytest.mark.alone
@pytest.mark.parametrize("pass_name", ["fwd", "bwd", "fwdbwd"])
def test_a_graph_of_rotating_copies_agrees_with_events(pass_name: str) -> None:
    case = Case(backend="lightning_triton", mechanism="lightning", pass_name=pass_name, seq_len=2048)
    work = workload.build(case, "cuda:0")
    times = {}
    for timer in ("events", "graph"):
        work.call()
        turn = Turn(number=0, call_s=1e-4, enqueue_s=1e-3)
        clock, used, doubts = timers.clock_for(work, "cuda:0", Protocol(timer=timer), turn)
        assert used.timer == timer
        assert not doubts
        times[timer] = sorted(reading.time_ms for reading in clock.read(work.call, 21))[10]
    assert times["graph"] == pytest.approx(times["events"], rel=0.5)
    assert times["graph"] > 1e-3
