"""Memory by call site: laws of the peak, and an allocator's snapshot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbench.profiling.allocations import (
    NO_FRAME,
    alive_by_site,
    call_site,
    of_snapshot,
    peak,
    short_path,
)

SITES = ("a.py:1 f", "b.py:2 g", "c.py:3 h")
changes = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 100), st.sampled_from(SITES)), max_size=40)


def _changes(made: list) -> list:
    """Addresses taken and given back in turn, with some that were taken before the call."""
    held: set[int] = set()
    found = []
    for address, size, site in made:
        taken = address not in held
        (held.add if taken else held.discard)(address)
        found.append({"bytes": size if taken else -1, "addr": address, "site": [site]})
    return [{"bytes": -7, "addr": 99, "site": []}, *found]


@given(changes)
def test_sites_add_up_to_the_peak_and_the_figure_reaches_it(made: list) -> None:
    found = peak(_changes(made))
    assert sum(site.bytes for site in found.sites) == found.bytes
    steps = alive_by_site(_changes(made), [site.where for site in found.sites[:1]])
    assert max(map(sum, steps), default=0) == found.bytes
    assert all(min(step) >= 0 for step in steps)


def test_what_is_given_back_has_the_size_it_had() -> None:
    made = [
        {"bytes": 10, "addr": 1, "site": ["a.py:1 f"]},
        {"bytes": -999, "addr": 1, "site": []},
        {"bytes": 4, "addr": 1, "site": ["b.py:2 g"]},
        {"bytes": 4, "addr": 2, "site": ["b.py:2 g"]},
    ]
    found = peak(made)
    assert found.bytes == 10
    assert [(site.where, site.count) for site in found.sites] == [("a.py:1 f", 1)]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (["aten::empty", "aten::matmul", "lbench/backends/x.py:9 f", "lbench/workload.py:1 g"],
         "lbench/backends/x.py:9 f [aten::matmul]"),
        (["torch/nn/functional.py:5 pad", "fla/ops/chunk.py:9 f"], "fla/ops/chunk.py:9 f"),
        (["torch/a.py:5 pad", "lbench/workload.py:1 g"], "torch/a.py:5 pad"),
        ([], NO_FRAME),
    ],
)  # fmt: skip
def test_the_call_site_is_the_code_that_wanted_it(frames: list[str], expected: str) -> None:
    assert call_site(frames) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/someone/venv/lib/python3.12/site-packages/fla/ops/x.py", "fla/ops/x.py"),
        ("/home/someone/checkout/lbench/workload.py", "lbench/workload.py"),
        ("/home/someone/mine.py", "mine.py"),
        ("/usr/lib/python3.12/contextlib.py", "contextlib.py"),
        ("torch/nn/functional.py", "torch/nn/functional.py"),
    ],
)
def test_paths_begin_at_their_package(path: str, expected: str) -> None:
    assert short_path(path) == expected


def test_the_allocators_own_record() -> None:
    frames = [{"filename": "fla/ops/x.py", "line": 7, "name": "forward"}]
    events = [
        {"action": "segment_alloc", "addr": 1, "size": 2**21, "frames": []},
        {"action": "alloc", "addr": 1, "size": 4096, "frames": frames},
        {"action": "free_requested", "addr": 1, "size": 4096, "frames": frames},
        {"action": "free_completed", "addr": 1, "size": 4096, "frames": frames},
        {"action": "alloc", "addr": 1, "size": 512},
    ]
    found = of_snapshot({"device_traces": [[], events]}, 1)
    assert [change["bytes"] for change in found] == [4096, -4096, 512]
    assert [(site.where, site.bytes) for site in peak(found).sites] == [("fla/ops/x.py:7 forward", 4096)]
