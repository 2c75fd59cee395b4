"""Rows as a pandas DataFrame, one line a row, every metric computed from the raw samples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from lbench import results
from lbench.case import MODEL_SETTINGS
from lbench.metrics import METRICS
from lbench.ratios import round_medians
from lbench.results import Results, Row

CASE_COLUMNS = ("batch", "seq_len", "tokens", "heads", "head_dim", "head_dim_v", "decay")

MODEL_COLUMNS = ("model", *MODEL_SETTINGS)


def load(*folders: str | Path) -> pd.DataFrame:
    """Loads result folders: one line a row, sorted as measured; metrics are NaN where a row has none.

    Problems of the files (a cut-off line) are in `frame.attrs["problems"]`. Raises UsageError for a folder
    without rows.
    """
    return of(*(results.read(Path(folder)) for folder in folders))


def of(*loaded: Results) -> pd.DataFrame:
    """As `load`, for folders that were read already."""
    frame = pd.DataFrame([line for result in loaded for line in _lines(result)])
    frame.attrs["problems"] = [problem for result in loaded for problem in result.problems]
    return frame


def _lines(result: Results) -> list[dict[str, Any]]:
    return [_line(row, result) for row in result.rows.values()]


def _line(row: Row, result: Results) -> dict[str, Any]:
    run = result.runs.get(row.run, {})
    environment = result.environments.get(run.get("environment", ""), {})
    case = row.case
    metrics = {name: metric.value(row, run) for name, metric in METRICS.items()}
    interval = {name: metrics.pop(name) for name in ("time_ms", "time_ms_low", "time_ms_high")}
    return {
        "suite": row.suite,
        "backend": case.backend,
        "mechanism": case.mechanism,
        "pass": case.pass_name,
        "device": case.device,
        "gpu": environment.get("gpu"),
        "dtype": case.dtype,
        **{column: getattr(case, column) for column in CASE_COLUMNS},
        "verdict": row.verdict,
        "reason": row.reason,
        **interval,
        "samples": len(row.times_ms),
        **metrics,
        "lbench_commit": run.get("lbench_commit"),
        "torch": environment.get("torch"),
        "triton": environment.get("triton"),
        "driver": environment.get("driver"),
        "started_at": row.started_at,
        "cpu": _cpu(environment) if case.device == "cpu" else None,
        "kv_heads": case.kv_heads,
        "inputs": case.inputs,
        "seed": case.seed,
        "l2": run.get("suite", {}).get("l2") or "cold",
        "timer": result.protocols.get(row.protocol, {}).get("timer"),
        "discarded": "; ".join(f"{count} {reason}" for reason, count in row.discarded.items()),
        "coverage": row.coverage,
        "deterministic": row.deterministic,
        "kernels": "; ".join(f"{kernel['count']} x {kernel['name']}" for kernel in row.kernels),
        "idle_w": row.energy.get("idle_w"),
        "inputs_id": row.inputs_id,
        **{column: getattr(case, column) for column in MODEL_COLUMNS},
        "params": row.model.get("params"),
        "doubts": "; ".join(row.doubts),
        "run": row.run,
        "environment": run.get("environment"),
        "rounds_ms": tuple(round_medians(row.times_ms, row.rounds)) if row.rounds else None,
        "twin_rounds_ms": tuple(round_medians(**row.twin)) if row.twin else None,
        "key": case.key,
        "reproduce": row.reproduce(run, "replay:FOLDER" if "replay" in environment else ""),
    }


def _cpu(environment: dict[str, Any]) -> str | None:
    """The CPU as a title shows it: its maker's marks left out, its cores counted."""
    name = re.sub(r"\((R|TM)\)|\bCPU\b|\bProcessor\b", "", environment.get("cpu") or "")
    return f"{' '.join(name.split())}, {environment.get('cores')} cores" if name else None
