"""The timing study runs in small on a CPU, and its summary counts what its rows say."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lbench.profiling import counters

ROOT = Path(__file__).parent.parent.parent
SPIN = "at::cuda::<unnamed>::spin_kernel(long)"
FILL = "void at::vectorized_elementwise_kernel<16, at::FillFunctor<signed char>>"


@pytest.fixture
def ncu(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    import timing_ncu

    return timing_ncu


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    import timing

    return timing


def page(ncu: Any, launches: list[tuple[str, float]]) -> str:
    """ncu's raw page of launches: (kernel, ns)."""
    lines = ["==PROF== Connected", f'"ID","Kernel Name","{ncu.TIME}","{ncu.CLOCK}"', '"","","ns","hz"']
    lines += [
        f'"{number}","{name}","{time_ns}","1980000000"' for number, (name, time_ns) in enumerate(launches)
    ]
    return "\n".join([*lines, "==PROF== Disconnected"])


def test_a_call_of_the_study_is_one_that_timers_take(study: Any) -> None:
    from lbench.timers import Timeable

    assert isinstance(study.timing_calls.make("scale", 1, "cpu"), Timeable)


def watched(ncu: Any, *lengths: int) -> list[Any]:
    return [ncu.Watched(kind="scale", size=1, copies=4, length=length) for length in lengths]


def test_ncu_is_read_call_by_call_without_the_overwriting(ncu: Any) -> None:
    one = [(FILL, 50_000), ("walk", 3e6), ("carry", 1e6)]
    slow = [(FILL, 50_000), ("walk", 9e6), ("carry", 1e6)]
    launches = [
        (FILL, 50_000),
        (SPIN, 2000),
        *one * 2,
        *slow,
        *one * 2,
        (SPIN, 2000),
        *[("graph", 16e6)] * ncu.CALLS,
    ]
    first, second = ncu.times(counters.parse(page(ncu, launches)), watched(ncu, 1, 8))
    assert first.time_ms == pytest.approx(4.0 - 2 * 0.002), "less what it counts for two kernels of nothing"
    assert first.sm_mhz == pytest.approx(1980)
    assert not first.whole
    assert second.time_ms == pytest.approx((16.0 - 0.002) / 8), "a chain of eight as one"
    assert second.whole


def test_a_chain_that_ncu_took_apart_is_no_whole(ncu: Any) -> None:
    launches = [(FILL, 50_000), (SPIN, 10), *[("mul", 2e6)] * (8 * ncu.CALLS)]
    (seen,) = ncu.times(counters.parse(page(ncu, launches)), watched(ncu, 8))
    assert (seen.time_ms, seen.whole) == (pytest.approx(2.0 - 1e-5), False)


def test_a_call_that_ncu_saw_in_part_or_not_at_all_has_no_time(ncu: Any) -> None:
    launches = [(FILL, 50_000), (SPIN, 10), *[("mul", 2e6)] * (ncu.CALLS + 1)]
    assert ncu.times(counters.parse(page(ncu, launches)), watched(ncu, 1, 1)) == [None, None]


def test_what_ncu_is_to_watch_is_read_as_it_was_told(ncu: Any) -> None:
    (one,) = watched(ncu, 8)
    assert ncu.Watched.of(str(one)) == one


def test_ncu_that_cannot_be_used_is_told_and_leaves_no_times(
    ncu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ncu.nsight, "find", lambda: "/bin/false")
    assert ncu.watch(watched(ncu, 1, 8), "cuda:0") == [None, None]
    assert "ncu cannot be used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("whole", "reference", "difference"),
    [(True, "ncu", 0.05), (False, "profiler", 0.0), (None, "profiler", 0.0)],
)
def test_ncu_is_the_reference_of_whole_chains_alone(
    study: Any, ncu: Any, whole: bool | None, reference: str, difference: float
) -> None:
    seen = None if whole is None else ncu.Seen(time_ms=1.0, nothing_ms=0.001, sm_mhz=1980.0, whole=whole)
    judged = study.judged({"time_ms": 1.05, "profiler_ms": 1.05}, seen)
    assert judged["reference"] == reference
    assert judged["difference"] == pytest.approx(difference)
    assert judged["difference_to_ncu"] == (None if seen is None else pytest.approx(0.05))


def test_ncu_watches_chains_long_enough_and_calls_as_they_are(study: Any) -> None:
    chain = study.watched_by_ncu({"call": "gamma 6", "copies": 128, "length": 128, "time_ms": 0.024})
    assert chain.length == 7 * 128
    alone = study.watched_by_ncu({"call": "scale 9", "copies": 1, "length": 1, "time_ms": 0.4})
    assert alone.length == 1


def test_the_profiler_counts_the_calls_that_are_samples_alone(study: Any) -> None:
    times_us = [50.0, 50.0, 1.0, 2.0, 1.0, 4.0]  # a warm-up call, then two samples of two kernels
    assert study.timing_reference._median_ms(times_us[-4:], 2) == pytest.approx(4e-3)


@pytest.mark.parametrize("lost", [1, 2, 4])
def test_kernels_that_the_profiler_lost_are_no_time(
    study: Any, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """Two kernels a call: with half of them lost a call would seem to take half as long."""
    reference = study.timing_reference
    seen = [("mul", 1.0)] * 8
    monkeypatch.setattr(reference, "_seen", lambda _, run: run() or seen[lost:])
    monkeypatch.setattr(reference, "_without_overwriting", lambda kernels, _: [time for _, time in kernels])
    monkeypatch.setattr(reference, "kernels_of", lambda *_: 2)
    taken = SimpleNamespace(calls=lambda: 4)
    with pytest.raises(RuntimeError, match="take the study again"):
        reference.watched(None, "cuda:0", lambda: taken)
    lost = 0
    assert reference.watched(None, "cuda:0", lambda: taken) == (taken, pytest.approx(2e-3))


@pytest.mark.parametrize("kernels", [3, 9])
def test_chains_seen_in_part_are_no_time(study: Any, kernels: int) -> None:
    with pytest.raises(RuntimeError, match=f"saw {kernels} kernels of 4 calls"):
        study.timing_reference._median_ms([1.0] * kernels, 4)


def test_a_study_stopped_while_ncu_watches_goes_on_without_it(
    study: Any, ncu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    row = {"call": "scale 1", "timer": "events", "copies": 1, "length": 1, "profiler_ms": 1.0}
    row |= {"time_ms": 1.01, "time_ms_low": 1.0, "time_ms_high": 1.02}
    monkeypatch.setattr(ncu.nsight, "find", lambda: "ncu")
    monkeypatch.setattr(ncu.nsight, "run_process", stopped)
    monkeypatch.setattr(study, "agreement", lambda *_: iter([row]))
    found = study.study("cuda:0", study.SMALL, tmp_path, compare=False)
    assert found["agreement"]["reference"] == ["profiler"]
    assert [one["reference"] for one in rows(tmp_path / "agreement.csv")] == ["profiler"]


def test_rows_until_somebody_stops_the_study_are_kept(study: Any, tmp_path: Path) -> None:
    def stopped() -> Iterator[dict[str, Any]]:
        yield {"call": "scale 1", "ratio": 1.0}
        assert rows(tmp_path / "rows.csv") == [{"call": "scale 1", "ratio": "1.0"}], "written as it came"
        raise KeyboardInterrupt

    assert len(study.kept(stopped(), tmp_path / "rows.csv", lambda _: None)) == 1
    assert study.summary([], [])["agreement"] == {"calls": 0}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_study_writes_rows_figures_and_a_summary(tmp_path: Path) -> None:
    command = [sys.executable, "studies/timing.py", "--device", "cpu", "--small", "--out", str(tmp_path)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    agreed, compared = rows(tmp_path / "agreement.csv"), rows(tmp_path / "comparisons.csv")
    assert len(agreed) == summary["agreement"]["calls"] == 3
    equal = [row for row in compared if row["kind"] == "A/A"]
    assert len(equal) == summary["A/A"]["of"] == 4
    assert sum(row["differs"] == "True" for row in equal) == summary["A/A"]["found"]
    assert {float(row["slowdown"]) for row in compared} == {0.0, 0.02, 0.03, 0.05}
    for row in compared:
        one, other = (
            [float(time) for time in row[name].split()] for name in ("rounds_ms", "other_rounds_ms")
        )
        assert len(one) == len(other) == 5
        assert float(row["low"]) <= float(row["ratio"]) <= float(row["high"])
    assert {path.name for path in tmp_path.glob("*.png")} == {"agreement.png", "comparisons.png"}
    assert all(float(row["time_ms"]) > 0 < float(row["reference_ms"]) for row in agreed)
