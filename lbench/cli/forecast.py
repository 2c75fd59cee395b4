"""The table of `lbench run --dry-run`: every case with what it is predicted to take."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lbench.cli.columns import fitted
from lbench.durations import format_duration
from lbench.lengths import format_length
from lbench.prediction import gib, is_shorter
from lbench.terminal import columns

if TYPE_CHECKING:
    from lbench.case import Case
    from lbench.device import Device
    from lbench.plan import Plan, Prediction
    from lbench.results import Results, Row
    from lbench.suite import Suite

COLUMNS = ("backend", "pass", "batch", "length", "call", "memory", "case", "after", "")


def show_plan(plan: Plan, cases: list[Case], earlier: Results | None, device: Device, suite: Suite) -> None:
    """Prints the cases in their order to standard output; their sum to standard error. Measures nothing.

    `earlier` holds rows of a folder to resume: their cases are left out, their times sharpen the predictions.
    A case over the time limit is tried all the same where no shorter one is: it counts with the limit.
    """
    from lbench import rotation

    rows, timeout_s = earlier.rows if earlier else {}, suite.cell_timeout_s
    lines: list[tuple[str, ...]] = [COLUMNS]
    total_s, skipped = 0.0, 0
    late: list[Case] = []
    for case in (case for group in rotation.groups(cases) for case in group):
        if case.key in rows and rows[case.key].is_final:
            continue
        prediction = plan.predict(case, rows.values())
        reason = _reason(case, rows, suite, device) or _after(late, case) or _over_budget(plan, case, rows)
        skipped += bool(reason)
        total_s += 0.0 if reason else min(prediction.wall_s, timeout_s)
        if not reason and prediction.wall_s > timeout_s:
            late.append(case)
            reason = f"may be cut off: over {format_duration(timeout_s)} a case ({prediction.basis})"
        lines.append(
            (
                *(case.who_and_how, case.pass_name, format_length(case.batch), format_length(case.seq_len)),
                _call(prediction.call_s),
                gib(prediction.memory_bytes),
                format_duration(prediction.wall_s),
                format_duration(total_s),
                reason or _note(prediction, device),
            )
        )
    print("\n".join(fitted(lines, 2, columns())))
    told = f"{len(lines) - 1 - skipped} of {len(lines) - 1} cases would be measured"
    told += f" ({len(late)} perhaps cut off)" * bool(late)
    print(
        f"{told}, in about {format_duration(total_s)}; predictions get better as cases land", file=sys.stderr
    )


def _reason(case: Case, rows: dict[str, Row], suite: Suite, device: Device) -> str:
    """Why a run would not try a case, as it would say it."""
    from lbench.runner import reason_it_cannot, reason_not_to_try

    if found := reason_it_cannot(case, device):
        return f"{found[0]}: {found[1]}"
    skip = reason_not_to_try(case, rows.values(), suite, device)
    return f"skipped: {skip}" if skip else ""


def _after(late: list[Case], case: Case) -> str:
    """That a run skips what is longer than a case it had to cut off."""
    shorter = [format_length(other.seq_len) for other in late if is_shorter(other, case)]
    return f"skipped if {shorter[0]} is cut off" if shorter else ""


def _over_budget(plan: Plan, case: Case, rows: dict[str, Row]) -> str:
    return "skipped: does not fit into the budget" if plan.reason_to_skip(case, rows.values()) else ""


def _note(prediction: Prediction, device: Device) -> str:
    tight = device.memory_bytes is not None and prediction.memory_bytes > device.memory_bytes
    return prediction.basis + ("; may not fit into memory" if tight else "")


def _call(seconds: float) -> str:
    if seconds >= 1:
        return format_duration(seconds)
    return f"{seconds * 1e3:.0f} ms" if seconds >= 1e-2 else f"{seconds * 1e6:.0f} us"
