"""`lbench history`: steps where the level changes, named by their commit."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import H100, jitter, keep

from lbench import results
from lbench.gates.history import Point, steps

Cli = Callable[..., tuple[int, str, str]]


def series(times_ms: Sequence[float]) -> list[Point]:
    return [
        Point(started_at=f"{2000 + index}", run=str(index), commit=f"c{index}", time_ms=time_ms)
        for index, time_ms in enumerate(times_ms)
    ]


def noisy(source: random.Random, levels: Sequence[float], sd: float = 0.004) -> list[Point]:
    return series([level * math.exp(source.gauss(0, sd)) for level in levels])


@given(place=st.integers(3, 17), share=st.sampled_from([-0.05, 0.03, 0.05, 0.1]), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_a_planted_step_is_found_where_it_is(place: int, share: float, seed: int) -> None:
    levels = [1.0] * place + [1 + share] * (20 - place)
    found = steps(noisy(random.Random(seed), levels, sd=0.002))
    planted = [step for step in found if step.index == place]
    assert len(planted) == 1
    assert planted[0].after.commit == f"c{place}"
    assert planted[0].ratio == pytest.approx(1 + share, abs=0.01)


def test_two_steps_are_told_apart() -> None:
    found = steps(noisy(random.Random(1), [1.0] * 8 + [1.05] * 8 + [0.98] * 8))
    assert [step.index for step in found] == [8, 16]


def test_noise_alone_has_a_step_as_seldom_as_said() -> None:
    source = random.Random(2)
    seen = sum(bool(steps(noisy(source, [1.0] * 20))) for _ in range(400))
    assert seen <= 9  # 4 expected; more than 9 have a chance of 1 %


def test_one_process_that_was_slow_alone_is_no_step() -> None:
    assert not steps(noisy(random.Random(3), [1.0] * 10 + [1.2]))
    assert not steps(series([1.0]))
    assert not steps([])


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Eight runs of four cases, one of which takes 6 % longer from the sixth on."""
    for number in range(8):
        times = jitter(number)
        times[1] *= 1.06 if number >= 5 else 1.0
        place = keep(
            tmp_path / "kept" / str(number),
            f"r{number}",
            times,
            started_at=f"2026-01-0{1 + number}T00:00:00Z",
        )
        writer = results.Writer(place)
        (run,) = results.read(place).runs.values()
        writer.document("runs", f"r{number}", {**run, "code_commit": f"commit{number}"})
        writer.close()
    return tmp_path / "kept"


def test_the_step_is_named_by_its_commit_and_quiet_cases_are_left_out(cli: Cli, kept: Path) -> None:
    code, out, err = cli("history", kept)
    assert (code, err) == (0, "")
    assert "at commit5, after commit4" in out
    assert out.count("step:") == 1
    assert out.splitlines()[-1] == "4 cases, up to 8 processes each: 1 with a step"
    (quiet, *_) = [one["key"] for one in json.loads(cli("history", kept, "--json")[1]) if not one["steps"]]
    assert "no step" in cli("history", kept, "--case", quiet)[1]


def test_folders_are_joined_and_machines_are_not(cli: Cli, kept: Path, tmp_path: Path) -> None:
    other = keep(tmp_path / "h200", "r9", jitter(9, 0.5), {**H100, "gpu": "H200"})
    found = json.loads(cli("history", *sorted(kept.iterdir()), other, "--json")[1])
    assert sorted(len(one["points"]) for one in found) == [1] * 4 + [8] * 4
    assert cli("history", kept, kept, "--json")[1] == cli("history", kept, "--json")[1]


def test_usage(cli: Cli, kept: Path, tmp_path: Path) -> None:
    assert cli("history", tmp_path / "nowhere")[0] == 2
    assert cli("history", kept, "--case", "no_such,fwd")[0] == 2
