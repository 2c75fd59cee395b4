"""Which kept rows answer a claim: those of its very shapes; to judge flatness and the like, others too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbench import backends
from lbench.claims.spec import Claim, Line
from lbench.gates.series import held_of
from lbench.metrics import METRICS
from lbench.results import Results, Row

UNSAID: dict[str, Any] = {"decay": "alibi", "inputs": "model", "seed": 0, "model": None, "body": "native"}
"""What a field is where a claim does not say it."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A row with the run and the machine that it comes from."""

    row: Row
    run: Mapping[str, Any]
    machine: str

    def value(self, metric: str) -> float:
        """NaN where the row has no time."""
        return METRICS[metric].value(self.row, dict(self.run))


def gather(folders: Iterable[Results]) -> list[Measured]:
    """All rows of result folders, the newest of a case on each machine standing."""
    found: dict[tuple[str, str], Measured] = {}
    for folder in folders:
        for key, row in folder.rows.items():
            run = folder.runs.get(row.run, {})
            environment = folder.environments.get(run.get("environment", ""), {})
            machine = environment.get("gpu") or environment.get("cpu") or "an unknown machine"
            before = found.get((key, machine))
            if before is None or before.row.started_at < row.started_at:
                found[key, machine] = Measured(row=row, run=run, machine=machine)
    return list(found.values())


def answers(
    claim: Claim, line: Line, pass_name: str, rows: Iterable[Measured]
) -> dict[str, dict[int, Measured]]:
    """Backend -> length -> row at the line's shape. The same kernel comes first.

    Others of its mechanism follow, but those that have a line of their own at that shape.
    """
    own = line.fields.get("backend", "")
    others = {other.fields.get("backend") for other in claim.lines if other.shape == line.shape} - {own}
    found: dict[str, dict[int, Measured]] = {}
    for one in rows:
        case = one.row.case
        if case.backend not in others and case.seq_len in claim.lengths and _fits(one.row, line, pass_name):
            by_length = found.setdefault(case.backend, {})
            if case.seq_len not in by_length or _faster(one, by_length[case.seq_len]):
                by_length[case.seq_len] = one
    return dict(sorted(found.items(), key=lambda item: (item[0] != own, item[0])))


def elsewhere(
    line: Line, pass_name: str, rows: Iterable[Measured]
) -> dict[tuple[Any, ...], dict[int, Measured]]:
    """Setting -> length -> row of the line's own kernel, at other numbers of heads, tokens or the like."""
    held = "constant tokens" if "tokens" in line.fields else "batch 1"
    found: dict[tuple[Any, ...], dict[int, Measured]] = {}
    for one in rows:
        case = one.row.case
        if (
            case.backend != line.fields.get("backend")
            or case.pass_name != pass_name
            or "model" in line.fields
        ):
            continue
        fields = _fields(one.row)
        if any(fields[name] != usual for name, usual in UNSAID.items()) or not one.row.times_ms:
            continue
        for what, value in held_of(one.row):
            if what == held:
                setting = (value, case.heads, case.head_dim, case.head_dim_v, case.dtype, case.device)
                found.setdefault(setting, {})[case.seq_len] = one
    return found


def in_one_setting(claim: Claim, rows: Sequence[Measured]) -> list[Measured]:
    """Rows of mixers as they are, and of models those in the one setting that answers most of the claim.

    Checkpointing and compilation change a speed as length does, so lengths and models are compared in one.
    """
    answered: dict[str, set[tuple[str, int]]] = {}
    for one in rows:
        for line in claim.lines if one.row.case.model else ():
            fits = any(_fits(one.row, line, pass_name) for pass_name in line.values)
            if fits and one.row.times_ms and one.row.case.seq_len in claim.lengths:
                answered.setdefault(one.row.case.setting, set()).add((line.id, one.row.case.seq_len))
    most = max(answered, key=lambda setting: (len(answered[setting]), setting), default="")
    return [one for one in rows if not one.row.case.model or one.row.case.setting == most]


def on_one_machine(claim: Claim, rows: Sequence[Measured]) -> tuple[list[Measured], str]:
    """Rows of the machine that answers most of the claim, else has most rows of its kernels; and the others.

    Times of two machines say nothing of kernels.
    """
    related = [one for one in rows if _is_related(claim, one)]
    cells = {
        (one.machine, line.id, pass_name, one.row.case.seq_len)
        for one in related
        for line in claim.lines
        for pass_name in line.values
        if one.row.case.seq_len in claim.lengths and _fits(one.row, line, pass_name)
    }
    answered, known = Counter(cell[0] for cell in cells), Counter(one.machine for one in related)
    most = max(known, key=lambda name: (answered[name], known[name], name), default="")
    others = machines([one for one in related if one.machine != most])
    return [one for one in rows if one.machine == most], others


def _is_related(claim: Claim, one: Measured) -> bool:
    """Whether a row is a time of a mechanism of the claim, in the model that it is said of."""
    of = {(line.fields.get("mechanism"), line.fields.get("model")) for line in claim.lines}
    return bool(one.row.times_ms) and (one.row.case.mechanism, one.row.case.model or None) in of


def ours(line: Line) -> str:
    """This project's backend of a line's mechanism; empty where there is none."""
    name = f"{line.fields.get('mechanism')}_triton"
    return name if name in backends.names() else ""


def machines(rows: Sequence[Measured]) -> str:
    """Their names."""
    return " and ".join(sorted({one.machine for one in rows}))


def _fits(row: Row, line: Line, pass_name: str) -> bool:
    if "mechanism" not in line.fields:
        return False
    fields = _fields(row)
    wanted = {**UNSAID, **line.shape, "pass": pass_name}
    wanted.setdefault("head_dim_v", wanted.get("head_dim", fields["head_dim_v"]))
    wanted.setdefault("kv_heads", wanted.get("heads", fields["kv_heads"]))
    return all(fields.get(name) == value for name, value in wanted.items())


def _fields(row: Row) -> dict[str, Any]:
    fields: dict[str, Any] = {**row.case.as_dict(), "tokens": row.case.tokens}
    return {**fields, "model": fields.get("model") or None}


def _faster(one: Measured, other: Measured) -> bool:
    new, old = one.value("tokens_per_s"), other.value("tokens_per_s")
    return new > old or old != old
