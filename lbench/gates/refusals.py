"""What two sides must share to be compared, and what is told beside the comparison."""

from __future__ import annotations

from collections.abc import Sequence

from lbench.errors import UsageError
from lbench.gates.fingerprint import differences_told
from lbench.gates.processes import PROTOCOL, Side, differences, software_differences
from lbench.gates.sessions import UNSEEN, Layout
from lbench.ratios import percent


def refuse_other_machine(new: Side, old: Side, keys: Sequence[str], across_machines: bool) -> None:
    """UsageError, with the reason, where times of both sides say nothing of one another."""
    found = differences(new, old, keys)
    if protocol := {name: seen for name, seen in found.items() if name in PROTOCOL}:
        raise UsageError(
            f"timed by another protocol than the baseline ({differences_told(protocol)}); take a new one"
        )
    if found and not across_machines:
        raise UsageError(
            f"measured on another machine than the baseline ({differences_told(found)}); take a baseline "
            f"here, or compare floor shares with --across-machines"
        )


def notes(new: Side, old: Side, keys: Sequence[str], across_machines: bool) -> list[str]:
    """What a reader should know of a comparison."""
    told = [*new.problems, *old.problems]
    if across_machines:
        told.append("compared are floor shares: times over the memory floor of the machine each ran on")
    for name, values in software_differences(new, old, keys).items():
        told.append(f"{name} differs: {' / '.join(sorted(map(str, values)))}")
    layout = Layout.of(*([row.started_at for key in keys for row in side.rows[key]] for side in (new, old)))
    if len(set(layout.old)) == 1 and not layout.same:
        told.append(
            f"the baseline is of one session: {percent(UNSEEN)} between sessions is assumed; measure it on "
            f"other days too"
        )
    return told
