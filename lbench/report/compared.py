"""What of a source is set against each other: operators of one shape, models of one size."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from lbench.case import MODEL_PASSES
from lbench.report.conditions import Condition, conditions
from lbench.report.model_conditions import by_size, model_conditions, of_models, of_one_size
from lbench.report.model_tables import size_tables
from lbench.report.tables import Table, tables


def compared_tables(rows: pd.DataFrame, metric: str) -> list[Table]:
    """A table a pass and condition of operators, then one a pass, setting and size of models."""
    models = of_models(rows)
    made = tables(rows[~models], metric) if (~models).any() else []
    return made + size_tables(rows[models], metric)


def compared_rows(rows: pd.DataFrame) -> Iterator[Condition]:
    """The same sweeps over lengths as conditions; those of models hold one pass each."""
    models = of_models(rows)
    if (~models).any():
        yield from conditions(rows[~models])
    for pass_name in MODEL_PASSES:
        for condition in model_conditions(rows[models], pass_name):
            for part in by_size(condition.rows):
                yield of_one_size(condition, part)
