"""What keeps a case from being tried at all: a limit of its backend, or a package that is missing."""

from __future__ import annotations

from lbench import backends
from lbench.case import Case
from lbench.packages import install_line


def barrier(case: Case, capability: tuple[int, int] | None) -> tuple[str, str] | None:
    """(`unsupported` or `unavailable`, the reason); None where the case can be tried."""
    if case.model:
        from lbench.models import operators

        limit, package = operators.unmet(case, capability), operators.missing_package(case)
    else:
        backend = backends.load(case.backend, case.mechanism)
        limit, package = backend.limits.unmet(case, capability), backends.missing_package(backend)
    if limit:
        return "unsupported", limit
    if package:
        return "unavailable", f"package {package} is not installed; {install_line(package)}"
    return None
