"""What a case must compute, move and hold at the least: of its model, or of its mechanism alone."""

from __future__ import annotations

from lbench import mechanisms
from lbench.case import Case
from lbench.errors import UsageError
from lbench.mechanisms import costs


def are_known(case: Case) -> bool:
    """Whether they can be told of a case; not of a model whose config.json is gone."""
    if not case.model:
        return True
    from lbench import models

    try:
        models.of_case(case)
    except UsageError:
        return False
    return True


def useful_flops(case: Case) -> float:
    """Floating-point operations of the pass in its cheapest exact form."""
    if case.model:
        from lbench.models import costs as of_models

        return of_models.useful_flops(case)
    return mechanisms.load(case.mechanism).useful_flops(case)


def executed_flops(case: Case) -> float:
    """Useful ones, and of a model those that training computes again."""
    if not case.model:
        return useful_flops(case)
    from lbench.models import costs as of_models

    return of_models.executed_flops(case)


def floor_bytes(case: Case) -> int:
    """Bytes that the pass must move."""
    if case.model:
        from lbench.models import costs as of_models

        return of_models.floor_bytes(case)
    return mechanisms.load(case.mechanism).floor_bytes(case)


def least_memory_bytes(case: Case) -> int:
    """Bytes that any implementation holds; of a model what its parts are predicted to take."""
    if case.model:
        from lbench.models import costs as of_models

        return of_models.memory_of(case).total
    return costs.least_memory_bytes(case, mechanisms.load(case.mechanism))
