"""Rows as files for other programs: one line a row, the columns of a frame in their order."""

from __future__ import annotations

import importlib.util
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from lbench.errors import UsageError

COLUMNS = (
    "suite",
    "backend",
    "mechanism",
    "pass",
    "device",
    "gpu",
    "dtype",
    "batch",
    "seq_len",
    "tokens",
    "heads",
    "head_dim",
    "head_dim_v",
    "decay",
    "verdict",
    "reason",
    "time_ms",
    "time_ms_low",
    "time_ms_high",
    "samples",
    "ns_per_token",
    "tokens_per_s",
    "enqueue_us",
    "compile_s",
    "inputs_mib",
    "outputs_mib",
    "gradients_mib",
    "saved_mib",
    "workspace_mib",
    "peak_mib",
    "slack_mib",
    "reserved_mib",
    "device_mib",
    "least_mib",
    "memory_ratio",
    "energy_uj_per_token",
    "error_out",
    "error_grad",
    "error_block",
    "floor_ms",
    "floor_share",
    "lbench_commit",
    "torch",
    "triton",
    "driver",
    "started_at",
)
"""The columns that come first, in this order; whatever else a frame has follows."""


def to_csv(frame: pd.DataFrame) -> str:
    """Comma-separated values with a header; empty where a row has none."""
    return ordered(frame).to_csv(index=False, lineterminator="\n")


def to_json(frame: pd.DataFrame) -> str:
    """A JSON array with one object a line; null where a row has none, so that any parser reads it."""
    records = ordered(frame).astype(object).to_dict("records")
    lines = [json.dumps({str(name): _plain(value) for name, value in row.items()}) for row in records]
    return "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"


def to_parquet(frame: pd.DataFrame) -> bytes:
    """Apache Parquet. UsageError where pyarrow is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError("parquet needs pyarrow, which is not installed: pip install 'lbench[parquet]'")
    with io.BytesIO() as file:
        ordered(frame).to_parquet(file, index=False, engine="pyarrow")
        return file.getvalue()


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the documented columns first; attributes (problems of the files) left behind."""
    first = [name for name in COLUMNS if name in frame.columns]
    rest = [name for name in frame.columns if name not in first]
    moved = frame[first + rest].copy()
    moved.attrs = {}
    return moved


def write(content: str | bytes, path: Path) -> None:
    """Writes a file. UsageError where it cannot."""
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another --out") from error


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value


FORMATS: dict[str, Callable[[pd.DataFrame], str | bytes]] = {
    "csv": to_csv,
    "json": to_json,
    "parquet": to_parquet,
}
"""Text goes to standard output or a file, bytes to a file."""
