"""What of a source is set against each other: operators of one shape, models of one size."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from lbench.case import MODEL_PASSES
from lbench.report.conditions import Condition, conditions
from lbench.report.model_conditions import by_size, model_conditions, of_models, of_one_size
from lbench.report.model_tables import size_tables
from lbench.report.tables import Table, tables


def compared_tables(rows: pd.DataFrame, metric: str, otherwise: str = "") -> list[Table]:
    """A table a pass and condition of operators, then one a pass, setting and size of models.

    Of those of which no `ok` row has the metric, and some have `otherwise`, it is of that.
    """
    models = of_models(rows)
    parts = [(part, _told(part, metric, otherwise)) for part in (rows[~models], rows[models])]
    made = tables(*parts[0]) if len(parts[0][0]) else []
    return made + size_tables(*parts[1])


def _told(rows: pd.DataFrame, metric: str, otherwise: str) -> str:
    right = rows[rows["verdict"] == "ok"]
    needed = otherwise and right[metric].isna().all() and right[otherwise].notna().any()
    return otherwise if needed else metric


def compared_rows(rows: pd.DataFrame) -> Iterator[Condition]:
    """The same sweeps over lengths as conditions; those of models hold one pass each."""
    models = of_models(rows)
    if (~models).any():
        yield from conditions(rows[~models])
    for pass_name in MODEL_PASSES:
        for condition in model_conditions(rows[models], pass_name):
            for part in by_size(condition.rows):
                yield of_one_size(condition, part)
