"""Groups, the order of turns, and what the A/A pairs of a sweep are said to show."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import pytest
from rows import make_row

from lbench import rotation
from lbench.case import Case
from lbench.protocol import Protocol
from lbench.report.breakdown import breakdown, rest_s
from lbench.rotation import Member


def member(name: str, call_s: float = 1e-3) -> Member:
    case = Case(backend=name, mechanism="softmax")
    return Member(case=case, prepared={"call_s": call_s}, protocol=Protocol(), started_at="")


def case(backend: str, seq_len: int, **fields: object) -> Case:
    return Case(backend=backend, mechanism="softmax", seq_len=seq_len, **fields)


def test_a_group_is_one_length_and_pass_of_all_backends_and_decays() -> None:
    cases = [case(name, length) for name in ("a", "b") for length in (2048, 1024)]
    cases += [case("a", 1024, pass_name="bwd"), case("b", 1024, decay="zero"), case("a", 1024, batch=2)]
    groups = rotation.groups(cases)
    told = [[(one.backend, one.pass_name, one.batch, one.seq_len) for one in group] for group in groups]
    assert told == [
        [("a", "bwd", 1, 1024)],
        [("a", "fwd", 1, 1024), ("b", "fwd", 1, 1024), ("b", "fwd", 1, 1024)],
        [("a", "fwd", 2, 1024)],
        [("a", "fwd", 1, 2048), ("b", "fwd", 1, 2048)],
    ]
    assert sorted(one.key for group in groups for one in group) == sorted(one.key for one in cases)


def test_small_models_come_before_large_ones_and_short_lengths_before_long_ones() -> None:
    """So that a budget leaves out the largest, not the longest of all."""
    order = [("tnl-tiny", 8, 4), ("tnl-385m", 1, 2048), ("tnl-1b", 2, 1024), ("llama-1b", 1, 4096)]
    order += [("mamba-1.4b", 2, 64), ("tnl-15b", 1, 16)]
    cases = [case("a", length, pass_name="train", model=name, batch=batch) for name, batch, length in order]
    told = [(one.model, one.batch, one.seq_len) for (one,) in rotation.groups(cases[::-1])]
    assert told == order


@pytest.mark.parametrize("count", range(1, 8))
def test_over_as_many_rounds_as_members_everyone_stands_everywhere(count: int) -> None:
    members = [member(f"m{index}") for index in range(count)]
    places: Counter[tuple[int, str]] = Counter()
    follows: Counter[tuple[str, str]] = Counter()
    for number in range(2 * count):
        turn = rotation.order(members, number)
        assert sorted(one.case.backend for one in turn) == sorted(one.case.backend for one in members)
        places.update((place, one.case.backend) for place, one in enumerate(turn))
        follows.update((a.case.backend, b.case.backend) for a, b in itertools.pairwise(turn))
    # Twice in every place, counting from either end.
    assert set(places.values()) == {2}
    assert len(places) == count**2
    # Nobody always stands behind the same one.
    assert all(follows[b, a] for a, b in follows)


def test_the_quickest_has_a_twin_and_a_lone_member_none() -> None:
    members = [member("slow", 2e-3), member("quick", 1e-3)]
    taking = rotation.with_twin(members)
    assert [one.case.backend for one in taking] == ["slow", "quick", "quick"]
    assert members[1].twin is taking[2]
    assert rotation.with_twin([member("alone")])[0].twin is None
    assert len(rotation.with_twin([member("a", 6.0), member("b", 7.0)])) == 2
    for call_s, has_pair, count in ((0.9, True, 3), (1.1, False, 3), (1.1, True, 2)):
        assert len(rotation.with_twin([member("a", call_s), member("b", 7.0)], has_pair)) == count


def test_the_noise_floor_is_told_from_the_twins() -> None:
    rounds = (0, 2, 4, 6, 8)
    times_ms = (1.0, 1.0, 1.01, 1.01, 0.99, 0.99, 1.0, 1.0, 1.005, 1.005)
    quiet = {"times_ms": [time * 1.001 for time in times_ms], "rounds": list(rounds)}
    row = dataclasses.replace(make_row(), times_ms=times_ms, rounds=rounds, twin=quiet)
    assert rotation.noise_floor([row, make_row()]).startswith(
        "A/A: 1 case measured as two, 1 told apart; could see "
    )
    assert rotation.noise_floor([make_row()]) == ""


def test_the_breakdown_adds_up_and_names_the_rest() -> None:
    spent = {"wall": 100.0, "sampling": 60.0, "warm_up": 20.0, "start_up": 8.0, "build": 4.0}
    assert rest_s(spent) == pytest.approx(12.0)
    told = breakdown(spent)
    assert told.startswith("100 s: start-up 8.0 s 8%, compilation 0.0 s 0%")
    assert told.endswith("the rest 12 s 12% (inputs 4.0 s 4%, runner 8.0 s 8%)")
    assert breakdown({}) == ""
