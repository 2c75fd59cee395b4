"""Rows of models as an H100 might give them, made up from FLOPs and bytes: no result of anything."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lbench import models, suite
from lbench.case import Case
from lbench.models import costs
from lbench.results import Row, Writer, content_id

MACHINE = {"device": "cuda", "gpu": "a made-up GPU", "cpu": "a CPU", "gpu_memory_mib": 81_000}
RUN = {
    "environment": content_id(MACHINE),
    "copy_bandwidth_gb_s": 3000.0,
    "matrix_tflop_s": {"bf16": 700.0},
}
SLOWER = {"lightning_authors": 1.9, "lightning_fla_chunk": 1.15, "lightning_fla_recurrent": 1.05}
"""Times what the quickest backend of the mechanism takes."""
RATE = 4e14
CARD_BYTES = 79 * 2**30


def rows_of(*names: str) -> list[Row]:
    """A row for every case of these suites."""
    cases = {case.key: case for name in names for case in suite.load(name).cases("cuda")}
    return [row_of(case) for case in cases.values()]


def row_of(case: Case, **fields: Any) -> Row:
    """Five rounds that vary by 0.1 %, or out of memory."""
    memory = costs.memory_of(case)
    known = {"params": models.of_case(case).parameters, "least_bytes": memory.total}
    shared: dict[str, Any] = {
        "case": case,
        "suite": "test",
        "run": "r1",
        "started_at": "2026-01-01T00:00:00Z",
    }
    if memory.total > CARD_BYTES:
        return Row(**shared, verdict="out_of_memory", reason="tried to allocate", model=known)
    work_s = costs.executed_flops(case) / RATE + costs.floor_bytes(case) / 3e12 + 1e-4
    time_ms = work_s * SLOWER.get(case.backend, 1.0) * 1e3
    noise = np.random.default_rng(zlib.crc32(case.key.encode())).normal(0, 0.001, 50)
    moved = {"useful_flops": costs.useful_flops(case), "executed_flops": costs.executed_flops(case)}
    moved |= {"floor_bytes": costs.floor_bytes(case), "mixer_ms": time_ms / 4, "metered_ms": time_ms}
    held = memory.weights + memory.optimizer + (memory.cache if case.pass_name == "decode" else 0)
    fields = {"verdict": "ok", "times_ms": tuple(time_ms * np.exp(noise)), **fields}
    return Row(
        **shared,
        rounds=tuple(range(0, 50, 10)) if fields["times_ms"] else (),
        memory={"inputs": held, "peak": memory.total - held, "weights": memory.weights},
        model=known | moved,
        **fields,
    )


def write(folder: Path, rows: Iterable[Row], **run: Any) -> Path:
    """The rows as a result folder; `run` is said of their run beside `RUN`."""
    writer = Writer(folder)
    writer.document("environments", content_id(MACHINE), MACHINE)
    writer.document("runs", "r1", RUN | run)
    for row in rows:
        writer.append(row)
    writer.close()
    return folder
