"""From which length on is A faster than B? With an interval, or why there is no such length.

At every length that both were measured at, the logarithm of A's time over B's is resampled from raw samples,
with the same rounds for cases that took turns. Between neighbouring lengths both times are power laws, so the
logarithm is a straight line in the logarithm of length: where it crosses zero for the last time is the
crossover, and the replicates' crossings give its interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lbench import ratios
from lbench.crossover.interval import Sides, interval
from lbench.gates.series import held_of
from lbench.ratios import Noise, Ratio, round_medians
from lbench.results import Row
from lbench.statistics import median

OWN_FIELDS = frozenset({"backend", "mechanism", "model", "params", "batch", "seq_len"})
"""Fields in which the two may differ; all others must be the same."""
SHAPE_OF_MODEL = frozenset({"heads", "kv_heads", "head_dim", "head_dim_v", "attention"})
"""Models have these of their own."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Both at one length."""

    seq_len: int
    batch: int
    times_ms: tuple[float, float]
    ratio: Ratio
    """A's time over B's."""
    together: bool
    """Whether they took turns in one run."""

    @property
    def ahead(self) -> int:
        """1 where A is faster, -1 where B is, 0 where that cannot be told."""
        return 0 if not self.ratio.differs else 1 if self.ratio.ratio < 1 else -1


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """How A and B compare over the lengths of one pass and setting."""

    one: str
    other: str
    setting: dict[str, Any]
    """The fields that both share, what was held constant, and its value."""
    points: tuple[Point, ...]
    state: str
    """crossover | at most (ahead from some length on, below which it cannot be told) | ahead (everywhere) |
    behind (at the longest length) | untold (there)."""
    length: float | None = None
    low: float | None = None
    """Ends of the interval; None where it reaches beyond the measured lengths on that side."""
    high: float | None = None
    behind: int | None = None
    """The longest length at which B is faster."""
    ahead: int | None = None
    """The length from which on A is faster at all measured ones."""
    untold: tuple[int, ...] = ()
    """Lengths at which neither can be told to be faster."""
    apart: tuple[int, ...] = ()
    """Lengths at which they took no turns in one run."""
    missing: dict[int, str] = field(default_factory=dict)
    """Length -> which of the two has no time there, and its verdict."""
    runs: tuple[str, ...] = ()
    """Runs that the rows come from."""
    mechanisms: tuple[str, ...] = ()
    """What each of the two computes."""


def find(rows: Iterable[Row], one: str, other: str) -> list[Crossover]:
    """One answer for each pass and setting that both were measured in at two lengths or more.

    Names are backends', models', `BACKEND in MODEL`, of a hybrid `... with ATTENTION` too; of several that go
    by a name (backends of a model, attentions of a hybrid) the fastest stands, and the answer names it.
    """
    kept = list(rows)
    called = _called(kept, {one, other})
    groups: dict[tuple[Any, ...], dict[str, dict[str, dict[int, Row]]]] = {}
    for row in kept:
        for name in {one, other} & names_of(row):
            for held, value in held_of(row):
                setting = (*_setting(row).items(), ("held", held), ("value", value))
                sides = groups.setdefault(setting, {}).setdefault(name, {})
                sides.setdefault(called[_side(row)], {})[row.case.seq_len] = row
    made = []
    for setting, found in groups.items():
        if len(found) < 2:
            continue
        (first, ours), (second, others) = (_fastest(found[name]) for name in (one, other))
        pairs = [(ours[length], others[length]) for length in sorted(ours.keys() & others.keys())]
        timed = [pair for pair in pairs if all(len(row.times_ms) > 1 for row in pair)]
        if len(timed) > 1:
            names = first, second
            made.append(judge(timed, names, kept, dict(setting), _missing(pairs, names)))
    return sorted(made, key=lambda found: (found.setting["pass"], found.setting["held"]))


def judge(
    pairs: Sequence[Sides],
    names: tuple[str, str],
    rows: Sequence[Row] = (),
    setting: dict[str, Any] | None = None,
    missing: dict[int, str] | None = None,
) -> Crossover:
    """What pairs of ascending lengths come to; the A/A pairs among `rows` tell the noise."""
    points = [_point(pair, _noise(pair, rows)) for pair in pairs]
    signs = [point.ahead for point in points]
    lengths = [point.seq_len for point in points]
    tail = next((index for index, sign in enumerate(reversed(signs)) if sign != 1), len(signs))
    last_behind = max((index for index, sign in enumerate(signs) if sign == -1), default=None)
    ahead = lengths[-tail] if tail else None
    if tail == len(signs):
        state = "ahead"
    elif tail:
        state = "at most" if last_behind is None else "crossover"
    else:
        state = "behind" if signs[-1] == -1 else "untold"
    at, low, high = (
        interval(pairs, [point.together for point in points])
        if state in ("crossover", "at most")
        else (None, None, None)
    )
    return Crossover(
        one=names[0],
        other=names[1],
        setting=setting or {},
        points=tuple(points),
        state=state,
        length=at,
        low=low,
        high=high,
        behind=None if last_behind is None else lengths[last_behind],
        ahead=ahead,
        untold=tuple(length for length, sign in zip(lengths, signs, strict=True) if sign == 0),
        apart=tuple(point.seq_len for point in points if not point.together),
        missing=missing or {},
        runs=tuple(sorted({row.run for pair in pairs for row in pair})),
        mechanisms=tuple(row.case.mechanism for row in pairs[0]),
    )


def names_of(row: Row) -> set[str]:
    """What the row goes by: its backend; of a model its name, its backend in it, that with its attention."""
    return {row.case.model or row.case.backend, row.case.who, _side(row)}


def _side(row: Row) -> str:
    case = row.case
    return f"{case.who} with {case.attention}" if case.attention else case.who


def _called(rows: Iterable[Row], asked: set[str]) -> dict[str, str]:
    """What answers call each side: with its attention where it has several, or was asked for so."""
    attentions: dict[str, set[str]] = {}
    for row in rows:
        attentions.setdefault(row.case.who, set()).add(_side(row))
    return {
        side: side if len(several) > 1 or side in asked else who
        for who, several in attentions.items()
        for side in several
    }


def _fastest(backends: dict[str, dict[int, Row]]) -> tuple[str, dict[int, Row]]:
    """Of what goes by one name, that with times at most lengths, and of these the quickest."""

    def cost(who: str) -> tuple[int, float]:
        times = [median(row.times_ms) / row.case.tokens for row in backends[who].values() if row.times_ms]
        return -len(times), sum(map(math.log, times))

    who = min(backends, key=cost)
    return who, backends[who]


def _setting(row: Row) -> dict[str, Any]:
    own = OWN_FIELDS | SHAPE_OF_MODEL if row.case.model else OWN_FIELDS
    return {name: value for name, value in row.case.as_dict().items() if name not in own}


def _missing(pairs: Sequence[Sides], names: tuple[str, str]) -> dict[int, str]:
    return {
        pair[0].case.seq_len: " and ".join(
            f"{name} {row.verdict}" for name, row in zip(names, pair, strict=True) if not row.times_ms
        )
        for pair in pairs
        if not all(row.times_ms for row in pair)
    }


def _point(pair: Sides, noise: Noise | None) -> Point:
    one, other = pair
    together = _together(pair)
    turns = [(row.times_ms, row.rounds if together else ()) for row in pair]
    return Point(
        seq_len=one.case.seq_len,
        batch=one.case.batch,
        times_ms=(median(one.times_ms), median(other.times_ms)),
        ratio=ratios.compared(turns[0], turns[1], noise),
        together=together,
    )


def _together(pair: Sides) -> bool:
    one, other = pair
    return one.run == other.run and min(len(one.rounds), len(other.rounds)) > 1


def _noise(pair: Sides, rows: Sequence[Row]) -> Noise | None:
    """What the A/A pairs of their group show."""
    case = pair[0].case
    twins = [
        (round_medians(row.times_ms, row.rounds), round_medians(**row.twin))
        for row in rows
        if row.twin
        and row.run == pair[0].run
        and (row.case.pass_name, row.case.seq_len, row.case.batch)
        == (case.pass_name, case.seq_len, case.batch)
    ]
    return ratios.noise_of(twins)
