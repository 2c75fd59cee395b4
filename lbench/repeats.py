"""A case is called more than once: the verdict on its first call and on a later one, as one.

Equal digests are equal results, so what repeats bit by bit is verified once. Of each call only digest and
errors are kept, so that two results need not fit into memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lbench.attest import Again, digest
from lbench.comparison import Error
from lbench.verify import Verification, reason_of, verify

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class First:
    """What is kept of a workload's first call."""

    digest: Mapping[str, str]
    verification: Verification
    limits: Mapping[str, Error] | None
    """What any other call is allowed; None where that is still to be found."""

    def with_later(self, work: Any, again: Again) -> Verification:
        """That of both calls; the later one is verified where its bits are others."""
        if again.digest == self.digest:
            return self.verification
        later = verify(work.case, work.inputs, again.outputs, work.output_gradient, self.limits)
        return both(self.verification, later)


def first_call(work: Any, outputs: Mapping[str, Tensor], limits: Mapping[str, Error] | None = None) -> First:
    """Verifies what the first call of a workload returned; `limits` as `verify` takes them."""
    found = verify(work.case, work.inputs, outputs, work.output_gradient, limits)
    return First(digest=digest(outputs), verification=found, limits=found.limits or limits)


def both(first: Verification, later: Verification) -> Verification:
    """Of two calls the larger error of every tensor; where one alone is wrong, the reason says which."""
    errors, limits = _larger(first.errors, later.errors), {**first.limits, **later.limits}
    wrong = {
        place: one.reason
        for place, one in (("in the first call", first), ("in a later call", later))
        if one.verdict != "ok"
    }
    reason = ""
    if len(wrong) == 1:
        ((place, told),) = wrong.items()
        reason = f"{place}: {told}"
    elif wrong:
        # A result of another shape has no errors: then its own reason says more than those of the other call.
        unmeasured = next((one.reason for one in (first, later) if not one.errors), "")
        reason = unmeasured or reason_of(errors, limits)
    verdict = "wrong" if wrong else "ok"
    return dataclasses.replace(first, errors=errors, limits=limits, verdict=verdict, reason=reason)


def _larger(first: Mapping[str, Error], later: Mapping[str, Error]) -> dict[str, Error]:
    larger = {**first, **later}
    for name in first.keys() & later.keys():
        one, other = first[name], later[name]
        larger[name] = Error(rms=max(one.rms, other.rms), block=max(one.block, other.block))
    return larger
