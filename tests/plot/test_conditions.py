"""Which rows stand together: found from the rows, every row somewhere, none twice in one place."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plot.synthetic import cpu, frame, h100, row

from lbench.report.conditions import POINT, conditions

points = st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=20, unique=True)


@given(points)
@settings(max_examples=25, deadline=None)
def test_every_row_is_in_a_condition_that_holds_what_it_says(grid: list[tuple[int, int]]) -> None:
    rows = frame([row(batch=batch, seq_len=seq_len, time_ms=1.0) for batch, seq_len in grid])
    found = conditions(rows)
    assert {index for one in found for index in one.rows.index} == set(rows.index)
    assert len({one.slug for one in found}) == len(found)
    for one in found:
        batches = (
            one.rows["batch"] if one.title.startswith("batch") else one.rows["batch"] * one.rows["seq_len"]
        )
        assert batches.nunique() == 1
        assert f"{batches.iloc[0]:,}" in one.title
        assert not one.rows.duplicated(list(POINT)).any()


def test_a_batch_sweep_and_a_token_sweep_share_their_common_row() -> None:
    found = conditions(h100("1k..256k", ("fwd",), ("lightning_triton",)))
    assert [one.slug for one in found] == ["batch-1", "262144-tokens"]
    assert all(len(one.rows) == 9 for one in found)


def test_a_grid_of_batches_is_not_read_as_token_sweeps() -> None:
    rows = frame([row(batch=b, seq_len=1024 * 2**n) for b in (1, 2, 4) for n in range(5)])
    assert [one.slug for one in conditions(rows)] == ["batch-1", "batch-2", "batch-4"]


def test_devices_and_dtypes_stand_apart_and_say_so() -> None:
    both = pd.concat([h100("1k,2k", ("fwd",), tokens=None), cpu()], ignore_index=True)
    found = conditions(both)
    assert [one.slug for one in found] == ["batch-1-nvidia-h100-80gb-hbm3-bf16", "batch-1-cpu-fp32"]
    assert found[0].setting == "NVIDIA H100 80GB HBM3, bf16, 16 heads \u00d7 128"
    assert found[1].setting == "CPU, fp32, 16 heads \u00d7 128"


def test_gpus_whose_names_differ_in_signs_alone_keep_their_own_figures() -> None:
    rows = frame([row(gpu="RTX-1", time_ms=1.0), row(gpu="RTX 1", time_ms=2.0)])
    assert len({one.slug for one in conditions(rows)}) == 2


def test_rows_without_a_decay_join_every_decay() -> None:
    rows = frame([row(decay="alibi"), row(decay="zero"), row(decay=None, backend="sdpa_flash")])
    found = conditions(rows)
    assert [sorted(one.rows["backend"]) for one in found] == [["lightning_triton", "sdpa_flash"]] * 2


@pytest.mark.parametrize(
    "differs",
    [{"seed": 1}, {"kv_heads": 4}, {"inputs": "mean"}, {"mechanism": "retention"}, {"dtype": "fp16"}],
)
def test_whatever_differs_in_a_key_stands(differs: dict[str, object]) -> None:
    rows = frame([row(backend="mine.py:f"), row(backend="mine.py:f", **differs)])
    assert {index for one in conditions(rows) for index in one.rows.index} == {0, 1}


def test_cold_and_warm_caches_are_never_compared() -> None:
    warm = row(l2="warm", backend="sdpa_flash", mechanism="softmax")
    for rows in (frame([row(l2="cold"), warm]), frame([row(l2="cold"), row(l2="warm")])):
        cold, other = conditions(rows)
        assert (list(cold.rows.index), list(other.rows.index)) == ([0], [1])
        assert other.setting == f"{cold.setting.removesuffix(', cold L2')}, warm L2"
    (one,) = conditions(frame([row()]))
    assert "L2" not in one.setting


@pytest.mark.parametrize("order", [1, -1])
def test_the_newest_row_of_a_point_stands(order: int) -> None:
    lines = [row(time_ms=9.0, started_at="2026-01-01"), row(time_ms=7.0, started_at="2026-02-01")]
    (one,) = conditions(frame(lines[::order]))
    assert list(one.rows["time_ms"]) == [7.0]


def test_other_heads_for_keys_and_values_are_told() -> None:
    (one,) = conditions(frame([row(kv_heads=4, head_dim_v=64, inputs="outlier")]))
    assert one.setting.endswith("bf16, 16 heads (4 kv) \u00d7 128 (v 64), outlier inputs")
