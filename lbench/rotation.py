"""Cases of one length take turns: groups of comparable cases, the order of each round, and what a turn adds.

Drift of clocks and heat then hits all backends alike, and ratios between them can be paired by round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lbench import doubts, energy
from lbench.case import Case
from lbench.doubts import Doubt
from lbench.models.classes import size, size_number
from lbench.protocol import Protocol, Stopping
from lbench.ratios import noise_of, paired, percent, round_medians
from lbench.row import Row

GIVEN_ON = ("call_s", "enqueue_s", "spent")
"""What a worker answers beside the fields of a row."""


def groups(cases: Iterable[Case]) -> list[list[Case]]:
    """Cases by pass and shape, whatever their mechanism and backend, in the order of tokens and length.

    Small models come before large ones: where a budget ends, whole sizes are there.
    """
    found: dict[tuple[Any, ...], list[Case]] = {}
    for case in cases:
        found.setdefault(group_of(case), []).append(case)
    return [found[key] for key in sorted(found, key=lambda key: key[:4])]


def group_of(case: Case) -> tuple[Any, ...]:
    """What cases of one group share; the first four set the order of groups."""
    shape: tuple[Any, ...] = (case.heads, case.head_dim, case.head_dim_v, case.inputs)
    if case.model:  # those of one size are compared whatever their heads
        shape = (size(case.model),)
    order = (case.pass_name, size_number(case.model), case.batch * case.seq_len, case.seq_len)
    return (*order, *shape, case.dtype, case.seed, case.device)


@dataclass(kw_only=True, eq=False)
class Member:
    """A prepared case, while its group takes turns."""

    case: Case
    prepared: Mapping[str, Any]
    """What the worker answered when it prepared the case."""
    protocol: Protocol
    started_at: str
    wall_s: float = 0.0
    twin: Member | None = None
    """The same case once more, as if it were another backend's."""
    is_twin: bool = False
    times_ms: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)
    discarded: dict[str, int] = field(default_factory=dict)
    enqueue_us: list[float] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    used: dict[str, Any] = field(default_factory=dict)
    """The protocol as the worker resolved it."""
    energy: list[dict[str, float]] = field(default_factory=list)
    """Of a long call, round by round."""
    spent: dict[str, float] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether all rounds were taken."""
        return len(self.rounds) >= self.protocol.stopping.rounds_of(self.prepared["call_s"])

    def turn(self) -> dict[str, Any]:
        """What the worker must know to take the next round."""
        return {
            "number": len(self.rounds),
            "call_s": self.prepared["call_s"],
            "enqueue_s": self.prepared["enqueue_s"],
            "seen": self.times_ms,
            "spent_s": self.spent.get("sampling", 0.0),
            "twin": self.is_twin,
        }

    def add(self, answer: Mapping[str, Any]) -> None:
        """Takes in a round."""
        first = len(self.times_ms)
        self.rounds.append(first)
        self.times_ms += answer["times_ms"]
        self.blocks += [{**block, "first": block["first"] + first} for block in answer.get("blocks", ())]
        for reason, count in answer.get("discarded", {}).items():
            self.discarded[reason] = self.discarded.get(reason, 0) + count
        self.enqueue_us += answer.get("enqueue_us", ())
        if "energy" in answer:
            self.energy.append(answer["energy"])
        self.doubts += [doubt for doubt in answer.get("doubts", ()) if doubt not in self.doubts]
        self.used = answer.get("protocol", {})

    def outcome(self) -> dict[str, Any]:
        """The fields of the row of a case that took all its rounds."""
        fields = {name: value for name, value in self.prepared.items() if name not in GIVEN_ON}
        fields |= {
            "times_ms": tuple(self.times_ms),
            "rounds": tuple(self.rounds),
            "blocks": tuple(self.blocks),
            "discarded": self.discarded,
            "enqueue_us": tuple(self.prepared.get("enqueue_us") or self.enqueue_us),
            "doubts": self._all_doubts(),
        }
        if self.energy:
            fields["energy"] = energy.joined(self.energy)
        if self.twin is not None and self.twin.done:
            fields["twin"] = {"times_ms": self.twin.times_ms, "rounds": self.twin.rounds}
        return fields

    def _all_doubts(self) -> tuple[str, ...]:
        found = [*self.prepared.get("doubts", ()), *self.doubts]
        long = self.protocol.stopping.is_long(self.prepared["call_s"])
        timer = self.used.get("timer", "")
        found += doubts.of_samples(self.times_ms, self.rounds, self.blocks, timer, long=long)
        if self.prepared.get("deterministic") is False:
            found.append(Doubt.NOT_DETERMINISTIC.value)
        named: dict[str, str] = {}
        for doubt in found:
            named.setdefault(doubt.partition(":")[0], doubt)
        return tuple(named.values())


def with_twin(members: Sequence[Member], has_pair: bool = False) -> list[Member]:
    """The members of a group, and the quickest of them once more: its A/A pair shows what noise alone does.

    A single member has nobody to be compared with, and takes no twin.
    """
    if len(members) < 2:
        return list(members)
    quickest = min(members, key=lambda member: member.prepared["call_s"])
    if not has_twin(quickest.prepared["call_s"], quickest.protocol.stopping, has_pair):
        return list(members)
    quickest.twin = Member(
        case=quickest.case,
        prepared=quickest.prepared,
        protocol=quickest.protocol,
        started_at=quickest.started_at,
        is_twin=True,
    )
    return [*members, quickest.twin]


def has_twin(call_s: float, stopping: Stopping, has_pair: bool) -> bool:
    """Whether calls of that length have an A/A pair: not very slow ones, nor long ones of a sweep that
    `has_pair` already."""
    return not (call_s > stopping.very_slow_s or (has_pair and stopping.is_long(call_s)))


def order(members: Sequence[Member], round_number: int) -> list[Member]:
    """Whose turn it is in a round: every other round runs backwards, and every pair of them begins one later.

    Backwards, so that nobody always follows the same one, or stands near the same end.
    """
    if not members:
        return []
    first = round_number // 2 % len(members)
    turned = [*members[first:], *members[:first]]
    return turned[::-1] if round_number % 2 else turned


def noise_floor(rows: Iterable[Row]) -> str:
    """What the A/A pairs of a sweep showed, in words; empty where there was none."""
    could, different = [], 0
    for row in rows:
        if not row.twin:
            continue
        one, other = round_medians(row.times_ms, row.rounds), round_medians(**row.twin)
        if ratio := paired(one, other):
            noisy = paired(one, other, noise_of([(one, other)]))
            could.append(noisy.could_see if noisy else ratio.could_see)
            different += ratio.differs
    if not could:
        return ""
    could.sort()
    return (
        f"A/A: {len(could)} case{'s' * (len(could) > 1)} measured as two, {different} told apart; "
        f"could see {percent(could[len(could) // 2])} (median; {percent(could[-1])} at the worst)"
    )


def add_up(total: dict[str, float], more: Mapping[str, float]) -> None:
    """Adds seconds by account."""
    for name, seconds in more.items():
        total[name] = total.get(name, 0.0) + seconds
