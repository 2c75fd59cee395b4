"""What one model in one setting does at a length: as measured, or estimated, and from which rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lbench import floors, models
from lbench.case import Case
from lbench.claims.rows import Measured
from lbench.gates.series import held_of
from lbench.models.classes import family
from lbench.models.costs import memory_of

TIERS = ("measured", "between lengths", "beyond lengths", "of another size")
"""How well an answer is known, the best first."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked for."""

    asked: str
    """The model or size class as it was given."""
    models: tuple[str, ...]
    seq_len: int
    pass_name: str
    memory_bytes: int
    batch: int = 0
    """Sequences at once; 0: any number."""

    @property
    def of_names(self) -> bool:
        """Whether models were asked for by name or size, and not by the path of a file."""
        return not self.asked.endswith(".json")

    def takes(self, batch: int) -> bool:
        """Whether a number of sequences is one that was asked for."""
        return self.batch in (0, batch)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Time and memory of a case, and what they rest on."""

    case: Case
    """At the length, and of the model, that were asked for."""
    basis: str
    """One of TIERS."""
    time_ms: float
    memory_bytes: float
    """All that is alive between calls, and the peak of one beyond it."""
    rows: tuple[Measured, ...]

    @property
    def tier(self) -> int:
        """0 for what was measured, more for what is less well known."""
        return TIERS.index(self.basis)

    @property
    def machine(self) -> str:
        """Where its rows come from."""
        return self.rows[0].machine

    @property
    def tokens_per_s(self) -> float:
        """Throughput."""
        return self.case.tokens / self.time_ms * 1e3

    def overlaps(self, other: Answer) -> bool:
        """Whether the intervals of two measured times do; one that is not known overlaps any."""
        ends = [[one.rows[0].value(f"time_ms_{end}") for end in ("low", "high")] for one in (self, other)]
        # Of two batches only tokens a second can be compared.
        (low, high), (others_low, others_high) = (
            [end / one.case.tokens for end in pair] for pair, one in zip(ends, (self, other), strict=True)
        )
        return not (low > others_high or others_low > high)


def answers(question: Question, rows: Iterable[Measured]) -> list[Answer]:
    """One for each setting of each model that any row tells something of, each the best known."""
    told = [one for one in rows if one.row.times_ms and one.row.memory]
    made: list[Answer] = []
    for name in question.models:
        own = [one for one in told if one.row.case.model == name]
        made += _of_lengths(question, own or _of_sibling(name, told), name)
    best: dict[tuple[str, str], Answer] = {}
    for answer in sorted(made, key=lambda one: one.tier):
        best.setdefault((answer.case.key, answer.machine), answer)
    return list(best.values())


def _of_sibling(name: str, rows: Sequence[Measured]) -> list[Measured]:
    """Rows of the model of the same family whose size is nearest."""
    size = models.load(name).parameters
    kin = [one for one in rows if one.row.model.get("params") and family(one.row.case.model) == family(name)]

    def apart(one: Measured) -> float:
        return abs(math.log(one.row.model["params"] / size))

    nearest = min(kin, key=apart, default=None)
    return [one for one in kin if nearest and one.row.case.model == nearest.row.case.model]


def _of_lengths(question: Question, rows: Sequence[Measured], name: str) -> Iterator[Answer]:
    """Every sweep over lengths among rows, read at the length that was asked for."""
    sweeps: dict[tuple[str, str, int, str], list[Measured]] = {}
    for one in rows:
        setting = dataclasses.replace(one.row.case, batch=1, seq_len=1).key
        helds = dict(held_of(one.row)) or {}
        if one.row.case.pass_name != "decode" and one.row.case.batch > 1:
            helds["batch"] = one.row.case.batch
        for held, value in helds.items():
            sweeps.setdefault((setting, held, value, one.machine), []).append(one)
    for (_, held, value, _), sweep in sweeps.items():
        batch = value if held != "constant tokens" else value // question.seq_len
        exact = held != "constant tokens" or value % question.seq_len == 0
        if batch and exact and question.takes(batch):
            sweep.sort(key=lambda one: one.row.case.seq_len)
            wanted = dataclasses.replace(sweep[0].row.case, seq_len=question.seq_len, batch=batch)
            yield _at(wanted, sweep, name)


def _at(wanted: Case, sweep: Sequence[Measured], name: str) -> Answer:
    """The answer for a case from the sweep it belongs to, of the model `name`."""
    at = wanted.seq_len
    same = [one for one in sweep if one.row.case.seq_len == at]
    below = [one for one in sweep if one.row.case.seq_len < at][-1:]
    above = [one for one in sweep if one.row.case.seq_len > at][:1]
    if same:
        found = _answer(wanted, "measured", same, same[0].value("time_ms"), _used_bytes(same[0]))
    elif below and above:
        ends = [*below, *above]
        time_ms, used = (
            between([(one.row.case.seq_len, value(one)) for one in ends], at)
            for value in (lambda one: one.value("time_ms"), _used_bytes)
        )
        found = _answer(wanted, "between lengths", ends, time_ms, used)
    else:
        found = _by_work(wanted, "beyond lengths", (below or above)[0])
    if wanted.model == name:
        return found
    return _of_model(found, wanted, name)


def _answer(case: Case, basis: str, rows: Sequence[Measured], time_ms: float, memory_bytes: float) -> Answer:
    return Answer(case=case, basis=basis, time_ms=time_ms, memory_bytes=memory_bytes, rows=tuple(rows))


def _by_work(wanted: Case, basis: str, nearest: Measured) -> Answer:
    """The nearest row's time, by how much more there is to do; its memory, by how much more is predicted."""
    row = nearest.row
    more_ms, more_bytes = _more(row.case, wanted)
    time_ms, used = nearest.value("time_ms") * more_ms, _used_bytes(nearest) * more_bytes
    return _answer(wanted, basis, (nearest,), time_ms, used)


def _of_model(found: Answer, wanted: Case, name: str) -> Answer:
    """An answer for a model carried over to another size of its family."""
    own = models.fields_of(
        name, wanted.backend, wanted.mechanism, wanted.body, wanted.attention, wanted.device
    )
    shape = {field: getattr(own, field) for field in ("heads", "kv_heads", "head_dim", "head_dim_v")}
    case = dataclasses.replace(wanted, model=name, **shape)
    more_ms, more_bytes = _more(wanted, case)
    return dataclasses.replace(
        found,
        case=case,
        basis="of another size",
        time_ms=found.time_ms * more_ms,
        memory_bytes=found.memory_bytes * more_bytes,
    )


def _more(case: Case, other: Case) -> tuple[float, float]:
    """Work and predicted memory of `other` over those of `case`: FLOPs, in decoding bytes to move."""
    work = floors.floor_bytes if case.pass_name == "decode" else floors.useful_flops
    return work(other) / work(case), memory_of(other).total / memory_of(case).total


def between(points: Sequence[tuple[int, float]], at: int) -> float:
    """A power law through two points, read between them."""
    (x0, y0), (x1, y1) = points
    share = math.log(at / x0) / math.log(x1 / x0)
    return y0 * (y1 / y0) ** share


def _used_bytes(one: Measured) -> float:
    return one.row.memory["inputs"] + one.row.memory["peak"]
