"""Cases that need not be tried here: outside the limits of their backend, or its package is not there."""

from __future__ import annotations

from lbench import backends
from lbench.case import Case
from lbench.packages import install_line


def refusal(case: Case, capability: tuple[int, int] | None) -> dict[str, str] | None:
    """Verdict and reason for a case that its backend cannot compute here; None where it may be tried."""
    backend = backends.load(case.backend, case.mechanism)
    if limit := backend.limits.unmet(case, capability):
        return {"verdict": "unsupported", "reason": limit}
    if package := backends.missing_package(backend):
        reason = f"package {package} is not installed; {install_line(package)}"
        return {"verdict": "unavailable", "reason": reason}
    return None
