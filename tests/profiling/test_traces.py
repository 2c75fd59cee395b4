"""Tables from traces: laws of partitions, the tables of a GPU's trace, what is told of a damaged one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from gpu_trace import gpu_events
from hypothesis import given
from hypothesis import strategies as st

from lbench.profiling import trace
from lbench.profiling.findings import Finding, findings
from lbench.profiling.kernels import kernels, operators, short
from lbench.profiling.kinds import Kind
from lbench.profiling.occupancy import Card, occupancy
from lbench.profiling.rest import DEVICE_GAP, HOST_GAP, rest
from lbench.profiling.spans import IDLE, gaps, partition, shares

NAMES = ("first", "second", "third")
spans = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 60), st.sampled_from(NAMES)).map(
        lambda one: (float(one[0]), float(one[0] + one[1]), one[2])
    ),
    max_size=30,
)
H100 = Card(multiprocessors=132, warps=64, registers=65536, shared_bytes=233472)


@given(spans)
def test_parts_of_a_window_add_up_to_it_and_none_is_negative(made: list) -> None:
    parts = partition(made, NAMES, (10.0, 150.0))
    assert sum(parts.values()) == pytest.approx(140.0)
    assert min(parts.values()) >= 0
    assert sum(shares(parts).values()) == pytest.approx(1.0)


@given(spans)
def test_a_moment_is_given_to_the_first_in_order(made: list) -> None:
    parts = partition(made, NAMES, (0.0, 300.0))
    covered = {point for start, end, name in made if name == "first" for point in range(int(start), int(end))}
    assert parts["first"] == pytest.approx(len(covered))


@given(spans)
def test_gaps_are_what_is_idle_between_the_first_start_and_the_last_end(made: list) -> None:
    if made:
        window = min(one[0] for one in made), max(one[1] for one in made)
        found = gaps(made)
        assert sum(end - start for start, end, _ in found) == pytest.approx(
            partition(made, NAMES, window)[IDLE]
        )
        assert all(sorted(made)[index][0] == end for _, end, index in found)


@given(st.integers(1, 1024), st.integers(1, 255), st.integers(0, 227 * 1024))
def test_occupancy_is_a_share_and_falls_with_what_a_block_takes(
    threads: int, registers: int, shared: int
) -> None:
    share = occupancy(H100, (threads, 1, 1), registers, shared)
    assert share is not None
    assert 0 <= share <= 1
    assert occupancy(H100, (threads, 1, 1), min(registers * 2, 255), shared) <= share  # type: ignore[operator]


def test_occupancy_of_known_kernels() -> None:
    # CUDA's own calculator: 8 warps of 168 registers fit once; 4 warps of 32 registers sixteen times.
    assert occupancy(H100, (256, 1, 1), 168, 0) == 8 / 64
    assert occupancy(H100, (128, 1, 1), 32, 0) == 1.0
    assert occupancy(H100, (128, 1, 1), 32, 100 * 1024) == 2 * 4 / 64
    assert occupancy(None, (128, 1, 1), 32, 0) is None


def test_kernels_of_a_trace_by_what_launched_them() -> None:
    read = trace.of_events(gpu_events())
    found = kernels(read, H100)
    assert sum(one.share for one in found) == pytest.approx(1.0)
    by_kind = {one.kind: one for one in found}
    walk = by_kind[Kind.COMPUTE]
    assert (walk.name, walk.launches, walk.blocks) == ("walk_kernel", 2, 64)
    assert walk.time_ms == pytest.approx(0.4)
    assert walk.occupancy == 8 / 64
    assert by_kind[Kind.CAST].launched_by == "aten::to"
    assert by_kind[Kind.CAST].name == "elementwise_kernel"
    assert by_kind[Kind.TRANSPOSE].time_ms == pytest.approx(0.02)
    assert Kind.FILL not in by_kind, "the timer's own fill lies outside of the calls"


@pytest.mark.parametrize("late_us", [0.0, 40.0, 200.0])
def test_gaps_are_the_hosts_as_far_as_it_was_late(late_us: float) -> None:
    found = rest(trace.of_events(gpu_events(late_us)))
    assert sum(found.parts_ms.values()) == pytest.approx(found.span_ms)
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert found.parts_ms[HOST_GAP] == pytest.approx(late_us * 1e-3, abs=1e-9)
    assert found.parts_ms[DEVICE_GAP] == pytest.approx(0.004)
    assert found.allocations == 1


def test_the_linter_names_what_it_saw() -> None:
    read = trace.of_events(gpu_events())
    facts = {"gradients_wanted": False, "saved_tensors": 3, "tf32_kernels": {"walk_kernel": 4}, "l2_bytes": 1}
    seen = {one.finding: one for one in findings(read, rest(read), facts)}
    assert set(seen) == {
        Finding.TRANSPOSE, Finding.CAST, Finding.GRAPH, Finding.TF32, Finding.HOST_SYNC, Finding.HOST_LATE
    }  # fmt: skip
    assert seen[Finding.CAST].where == "aten::to"
    assert seen[Finding.HOST_SYNC].count == 1
    assert "LightningAttentionBackward" in seen[Finding.HOST_SYNC].where
    assert all(finding.advice for finding in Finding)
    assert Finding.GRAPH not in {
        one.finding for one in findings(read, rest(read), {"gradients_wanted": True})
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("void at::native::(anonymous namespace)::cat_kernel<int, 4>(int*)", "cat_kernel"),
        ("_bwd_inter_kernel", "_bwd_inter_kernel"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_bf16>(Params)", "Kernel2"),
        ("Memcpy DtoD (Device -> Device)", "Memcpy DtoD (Device -> Device)"),
        ("aten::bmm", "aten::bmm"),
    ],
)
def test_names_are_short(name: str, expected: str) -> None:
    assert short(name) == expected


def test_own_times_of_operators_add_up_to_the_call() -> None:
    host = [event for event in gpu_events() if event.get("pid") == 1]
    read = trace.of_events([event for event in host if event.get("tid") != 101])
    found = operators(read)
    assert sum(one.time_ms for one in found) == pytest.approx(0.70)
    assert sum(one.share for one in found) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"traceEvents": 5}', b'{"traceEvents": [{"ph": "X", "cat": "kernel"}]}', b"\xff"],
)
def test_a_damaged_trace_is_told(content: bytes, tmp_path: Path) -> None:
    plain, packed = tmp_path / "trace.json", tmp_path / "trace.json.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content)[:-3])
    for path in (plain, packed):
        with pytest.raises(trace.Unreadable):
            trace.read(path)


def test_a_trace_without_a_call_is_told(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": []}))
    with pytest.raises(trace.Unreadable, match="no call of the workload"):
        trace.read(path)


def test_kernels_of_a_driver_that_was_not_traced_are_found_by_their_operator() -> None:
    events = [
        dict(event) for event in gpu_events() if event.get("cat") not in ("cuda_driver", "cuda_runtime")
    ]
    for event in events:
        if event.get("name") == "LightningAttention":
            event["args"] = {"External id": 5 + int(event["ts"] // 1000)}
        elif event.get("name") == "walk_kernel":
            event["args"] = {**event["args"], "External id": 5 + int(event["ts"] // 1000)}
    (found,) = kernels(trace.of_events(events))
    assert (found.name, found.launched_by) == ("walk_kernel", "LightningAttention")
    assert found.launches == 2
