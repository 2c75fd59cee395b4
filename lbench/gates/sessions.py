"""Processes of one session share what befalls it: how much of the variance between processes that is.

A session is a stretch of processes without a gap of more than an hour. Processes under test mostly come from
one session, those of a baseline from several: to count each as a draw of its own would cry wolf.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

GAP = timedelta(hours=1)
UNSEEN = 0.01
"""Spread between sessions that is assumed where the baseline has one alone and the side under test another.

Half of what the same kernels showed over three sessions on three cards of one model.
"""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which session each process belongs to."""

    new: tuple[int, ...]
    old: tuple[int, ...]

    @classmethod
    def of(cls, new: Sequence[str], old: Sequence[str]) -> Layout:
        """From the times at which processes started, UTC."""
        starts = sorted({datetime.fromisoformat(text) for text in (*new, *old)})
        gaps = [later - earlier > GAP for earlier, later in itertools.pairwise(starts)]
        numbers = dict(zip(starts, itertools.accumulate([0, *map(int, gaps)]), strict=True))
        return cls(
            new=tuple(numbers[datetime.fromisoformat(text)] for text in new),
            old=tuple(numbers[datetime.fromisoformat(text)] for text in old),
        )

    @property
    def same(self) -> bool:
        """Whether all of it is one session: what that shares cancels."""
        return len({*self.new, *self.old}) == 1


@dataclass(frozen=True, kw_only=True)
class Variance:
    """Of single processes, within a session and between sessions, with the degrees of freedom of each."""

    within: float
    between: float
    freedom_within: float
    freedom_between: float

    def of_difference(self, new: int, old: int, layout: Layout) -> tuple[float, int]:
        """The variance of the mean of so many processes under test over that of the baseline.

        And its degrees of freedom (Satterthwaite): few sessions say little, however many processes they have.
        """
        within = self.within * (1 / new + 1 / old)
        between = self.between * (_shared(layout.new) + _shared(layout.old))
        parts = ((within, self.freedom_within), (between, self.freedom_between))
        doubtful = sum(part**2 / max(freedom, 1.0) for part, freedom in parts)
        whole = within + between
        return whole, max(math.floor(whole**2 / doubtful * (1 + 1e-9)) if doubtful else 1, 1)


def split(total: float, freedom: float, share: float | None, layout: Layout) -> Variance:
    """What both sides show within themselves, as variance within and between sessions.

    `freedom` is that of the total, `share` what sessions make of it, None where the baseline cannot say.
    """
    if layout.same:
        return Variance(within=total, between=0.0, freedom_within=freedom, freedom_between=1.0)
    if share is None:
        return Variance(within=total, between=UNSEEN**2, freedom_within=freedom, freedom_between=math.inf)
    sides = [side for side in (layout.new, layout.old) if len(side) > 1]
    own = sum(len(side) - 1 for side in sides)
    of_sessions = sum(len(set(side)) - 1 for side in sides)
    # Within a side, sessions show less than all of their variance, as the side has few of them.
    shown = sum((1 - _shared(side)) * len(side) for side in sides)
    whole = total / max(1 - share + share * shown / own, 0.2)
    return Variance(
        within=(1 - share) * whole,
        between=share * whole,
        freedom_within=freedom * (own - of_sessions) / own,
        freedom_between=freedom * of_sessions / own,
    )


def share_of(cases: Iterable[tuple[Sequence[float], Sequence[int]]]) -> float | None:
    """The share of the variance that sessions make, over all cases of a baseline.

    Each is given by its processes' logarithms and their sessions. None for a single session; 1 where each
    process has a session to itself, as nothing then tells them apart.
    """
    between = within = 0.0
    between_freedom = within_freedom = 0
    sizes: list[float] = []
    for logs, sessions in cases:
        count, groups = len(logs), len(set(sessions))
        middle = math.fsum(logs) / count
        total = math.fsum((log - middle) ** 2 for log in logs)
        if groups < 2 or not total:
            continue
        inside = _within(logs, sessions)
        scale = total / (count - 1)
        between += (total - inside) / scale
        within += inside / scale
        between_freedom += groups - 1
        within_freedom += count - groups
        sizes.append((count - count * _shared(sessions)) / (groups - 1))
    if not between_freedom:
        return None
    if not within_freedom:
        return 1.0
    of_sessions, of_processes = between / between_freedom, within / within_freedom
    size = math.fsum(sizes) / len(sizes)
    return min(max((of_sessions - of_processes) / (of_sessions + (size - 1) * of_processes), 0.0), 1.0)


def _within(logs: Sequence[float], sessions: Sequence[int]) -> float:
    total = 0.0
    for session in set(sessions):
        part = [log for log, of in zip(logs, sessions, strict=True) if of == session]
        middle = math.fsum(part) / len(part)
        total += math.fsum((log - middle) ** 2 for log in part)
    return total


def _shared(sessions: Sequence[int]) -> float:
    """What of the variance between sessions is left in the mean of these processes."""
    counts = Counter(sessions).values()
    return sum(count**2 for count in counts) / sum(counts) ** 2
