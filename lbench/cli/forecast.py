"""The table of `lbench run --dry-run`: every case with what it is predicted to take."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lbench.cli.columns import fitted
from lbench.durations import format_duration
from lbench.lengths import format_length
from lbench.prediction import gib
from lbench.terminal import columns

if TYPE_CHECKING:
    from lbench.case import Case
    from lbench.device import Device
    from lbench.plan import Plan, Prediction
    from lbench.results import Results, Row

COLUMNS = ("backend", "pass", "batch", "length", "call", "memory", "case", "after", "")


def show_plan(
    plan: Plan, cases: list[Case], earlier: Results | None, device: Device, timeout_s: float
) -> None:
    """Prints the cases in their order to standard output; their sum to standard error. Measures nothing.

    `earlier` holds rows of a folder to resume: their cases are left out, their times sharpen the predictions.
    """
    from lbench import rotation

    rows = earlier.rows if earlier else {}
    lines: list[tuple[str, ...]] = [COLUMNS]
    total_s, skipped = 0.0, 0
    for case in (case for group in rotation.groups(cases) for case in group):
        if case.key in rows and rows[case.key].is_final:
            continue
        prediction = plan.predict(case, rows.values())
        reason = _cannot(case, device) or _should_not(plan, case, prediction, rows, timeout_s)
        if reason:
            skipped += 1
        else:
            total_s += prediction.wall_s
        lines.append(
            (
                *(case.who, case.pass_name, format_length(case.batch), format_length(case.seq_len)),
                _call(prediction.call_s),
                gib(prediction.memory_bytes),
                format_duration(prediction.wall_s),
                format_duration(total_s),
                reason or _note(prediction, device),
            )
        )
    print("\n".join(fitted(lines, 2, columns())))
    told = f"{len(lines) - 1 - skipped} of {len(lines) - 1} cases would be measured"
    print(
        f"{told}, in about {format_duration(total_s)}; predictions get better as cases land", file=sys.stderr
    )


def _cannot(case: Case, device: Device) -> str:
    from lbench.barriers import barrier

    found = barrier(case, device.capability)
    return f"{found[0]}: {found[1]}" if found else ""


def _should_not(
    plan: Plan, case: Case, prediction: Prediction, rows: dict[str, Row], timeout_s: float
) -> str:
    if prediction.wall_s > timeout_s:
        return f"skipped or cut off: over {format_duration(timeout_s)} a case ({prediction.basis})"
    return "skipped: does not fit into the budget" if plan.reason_to_skip(case, rows.values()) else ""


def _note(prediction: Prediction, device: Device) -> str:
    tight = device.memory_bytes is not None and prediction.memory_bytes > device.memory_bytes
    return prediction.basis + ("; may not fit into memory" if tight else "")


def _call(seconds: float) -> str:
    if seconds >= 1:
        return format_duration(seconds)
    return f"{seconds * 1e3:.0f} ms" if seconds >= 1e-2 else f"{seconds * 1e6:.0f} us"
