"""Certificates: one for all backends that claim a mechanism in one setting.

It says that they were given the same inputs (by their content), what function they claim (the mechanism's
formula), and how much of the one error budget each has used. Speeds are compared within such a group, or
across groups with both mechanisms named.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbench import mechanisms, results
from lbench.case import Case
from lbench.errors import UsageError
from lbench.lengths import format_length
from lbench.metrics import METRICS
from lbench.report.wording import NOT_THERE, title
from lbench.results import Row

JUDGED = frozenset({"ok", "wrong"})


@dataclass(frozen=True, order=True)
class Point:
    """What tells the cases of a backend in one setting apart."""

    batch: int
    seq_len: int
    pass_name: str


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One backend in a group."""

    backend: str
    proved: tuple[Point, ...]
    wrong: tuple[Point, ...]
    unjudged: tuple[Point, ...]
    """Those without a verdict on its results: out of memory, crashed, skipped ..."""
    budget_used: float
    """The worst error over its limit, of its right rows; NaN where there are none."""
    coverage: str
    """`all`, or the least that was compared at any length."""
    deterministic: bool | None
    """Whether every right row repeated bit by bit; None where that was not looked at."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """All backends of one mechanism in one setting."""

    mechanism: str
    formula: str
    setting: str
    passes: tuple[str, ...]
    proofs: tuple[Proof, ...]
    same_inputs: bool | None
    """Whether all were given the same inputs at every length and pass; None where rows do not say, as those
    of models never do."""
    model: str
    """The model that the mechanism is the mixer of; empty for a mixer alone."""
    budget: dict[str, float]
    """Tensor -> the relative RMS error allowed, the largest of any length."""

    @property
    def holds(self) -> bool:
        """Whether nobody is wrong and all inputs were the same, as far as rows say."""
        return self.same_inputs is not False and not any(proof.wrong for proof in self.proofs)


def read_rows(folders: Sequence[Path]) -> list[Row]:
    """The rows of result folders, those that were not there at all left out."""
    rows = []
    for folder in folders:
        read = results.read(folder)
        for problem in read.problems:
            print(f"lbench: {problem}", file=sys.stderr)
        rows += [row for row in read.rows.values() if row.verdict not in NOT_THERE]
    if not any(row.verdict in JUDGED for row in rows):
        raise UsageError("no row was verified; let `lbench run` or `lbench verify --out` finish a case first")
    return rows


def certificates(rows: Iterable[Row]) -> list[Certificate]:
    """A certificate a mechanism and setting, in the order of the rows."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.case.mechanism, _setting(row.case)), []).append(row)
    return [_certificate(mechanism, setting, group) for (mechanism, setting), group in groups.items()]


def to_dict(certificate: Certificate) -> dict[str, Any]:
    """For JSON: NaN becomes null."""
    fields = dataclasses.asdict(certificate) | {"holds": certificate.holds}
    for proof in fields["proofs"]:
        proof["budget_used"] = None if math.isnan(proof["budget_used"]) else proof["budget_used"]
    return fields


def to_text(certificate: Certificate, columns: int = 80) -> str:
    """A few lines for a terminal of so many columns."""
    unknown = "drawn from the seed; rows of models keep no digest" if certificate.model else ""
    inputs = {
        True: "the same for all",
        False: "NOT the same for all",
        None: unknown or "not on record (older rows)",
    }
    allowed = ", ".join(f"{name} {limit:.1e}" for name, limit in certificate.budget.items())
    lines = [
        f"{certificate.mechanism}: {certificate.formula}",
        f"  {certificate.setting}; {', '.join(certificate.passes)}",
        f"  inputs: {inputs[certificate.same_inputs]}",
        f"  relative RMS error allowed: {allowed or 'none on record'}",
    ]
    wrapped = [part for line in lines for part in _wrap(line, columns, 4)]
    names = max(len(title(proof.backend)) for proof in certificate.proofs) + 4
    for proof in certificate.proofs:
        wrapped += _wrap(f"  {title(proof.backend)}".ljust(names) + _line(proof), columns, names)
    return "\n".join(wrapped) + "\n"


def _wrap(line: str, columns: int, indent: int) -> list[str]:
    """The line within the columns, what goes on below set in; less so where that would leave no room."""
    inside, whole = " " * min(indent, columns // 2), line.replace(" x ", "\u00a0x\u00a0")
    wrapped = textwrap.wrap(whole, max(columns, 20), subsequent_indent=inside, break_on_hyphens=False)
    return [part.replace("\u00a0", " ") for part in wrapped]


def _setting(case: Case) -> str:
    if case.model:
        return ", ".join([case.device, case.dtype, case.model_setting, f"seed {case.seed}"])
    heads = f"{case.heads} heads" + (f" ({case.kv_heads} kv)" if case.kv_heads != case.heads else "")
    dims = f"{case.head_dim}" + (f" (v {case.head_dim_v})" if case.head_dim_v != case.head_dim else "")
    parts = [case.device, case.dtype, f"{heads} \u00d7 {dims}", f"decay {case.decay}"]
    return ", ".join([*parts, f"{case.inputs} inputs, seed {case.seed}"])


def _certificate(mechanism: str, setting: str, rows: list[Row]) -> Certificate:
    budget: dict[str, float] = {}
    for row in rows:
        for name, limit in row.limits.items():
            budget[name] = max(budget.get(name, 0.0), limit["rms"])
    names = list(dict.fromkeys(row.case.backend for row in rows))
    return Certificate(
        mechanism=mechanism,
        formula=mechanisms.load(mechanism).formula,
        setting=setting,
        passes=tuple(dict.fromkeys(row.case.pass_name for row in rows)),
        proofs=tuple(_proof(name, [row for row in rows if row.case.backend == name]) for name in names),
        same_inputs=None if rows[0].case.model else _same_inputs(rows),
        model=rows[0].case.model,
        budget=budget,
    )


def _same_inputs(rows: list[Row]) -> bool | None:
    """Whether backends had the same inputs wherever several were judged on the same shape and pass."""
    found: dict[tuple[Any, ...], set[str]] = {}
    for row in rows:
        if row.verdict in JUDGED:
            case = row.case
            found.setdefault((case.pass_name, case.batch, case.seq_len), set()).add(row.inputs_id)
    if any("" in ids for ids in found.values()):
        return None
    return all(len(ids) == 1 for ids in found.values())


def _proof(backend: str, rows: list[Row]) -> Proof:
    right = [row for row in rows if row.verdict == "ok"]
    shares = [METRICS["error_share"].value(row, {}) for row in right]
    repeated = [row.deterministic for row in right if row.deterministic is not None]
    partial = [row for row in right if row.coverage not in ("", "all")]
    return Proof(
        backend=backend,
        proved=_points(right),
        wrong=_points(row for row in rows if row.verdict == "wrong"),
        unjudged=_points(row for row in rows if row.verdict not in JUDGED),
        budget_used=max((share for share in shares if not math.isnan(share)), default=math.nan),
        coverage=max(partial, key=lambda row: row.case.seq_len).coverage if partial else "all",
        deterministic=all(repeated) if repeated else None,
    )


def _points(rows: Iterable[Row]) -> tuple[Point, ...]:
    return tuple(sorted({Point(row.case.batch, row.case.seq_len, row.case.pass_name) for row in rows}))


def _line(proof: Proof) -> str:
    every = {*proof.proved, *proof.wrong, *proof.unjudged}
    parts = [f"{word} {_where(points, every)}" for word, points in (
        ("right at", proof.proved), ("WRONG at", proof.wrong), ("not judged at", proof.unjudged)
    ) if points]  # fmt: skip
    if not math.isnan(proof.budget_used):
        parts.append(f"{proof.budget_used:.0%} of the budget")
    if proof.coverage != "all":
        parts.append(proof.coverage)
    if proof.deterministic is not None:
        parts.append("repeats bit by bit" if proof.deterministic else "differs from call to call")
    return "; ".join(parts)


def _where(points: Sequence[Point], every: Collection[Point]) -> str:
    """Lengths of which all was so; of others `batch x length`, and the pass where the other passes differ."""
    others = set(every) - set(points)
    partly = {point.seq_len for point in others}
    by_name: dict[tuple[str, str], set[int]] = {}
    for point in points:
        mixed = {(other.batch, other.seq_len) for other in others}
        before = f"{point.batch} x " if point.seq_len in partly else ""
        behind = f" ({point.pass_name})" if (point.batch, point.seq_len) in mixed else ""
        by_name.setdefault((before, behind), set()).add(point.seq_len)
    named = sorted(by_name.items(), key=lambda one: one[0][0] != "")
    return ", ".join(before + _spans(sorted(lengths)) + behind for (before, behind), lengths in named)


def _spans(lengths: Sequence[int]) -> str:
    """`1k..64k` where every length doubles, else a list."""
    doubled = all(after == 2 * before for before, after in itertools.pairwise(lengths))
    if len(lengths) > 2 and doubled:
        return f"{format_length(lengths[0])}..{format_length(lengths[-1])}"
    return ",".join(map(format_length, lengths))
