"""Result folders of processes, for tests of gates."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rows import make_row

from lbench import results

H100 = {"device": "cuda", "gpu": "H100", "driver": "580.1", "torch": "2.11"}
LENGTHS = (1024, 2048, 4096, 8192)


def keep(
    place: Path,
    run: str,
    times_ms: Sequence[float],
    environment: dict[str, Any] | None = None,
    suite: dict[str, Any] | None = None,
    verdicts: Sequence[str] = (),
    bandwidth: float = 3000.0,
    started_at: str = "2026-01-01T00:00:00Z",
) -> Path:
    """A result folder of one process: one case a time."""
    writer = results.Writer(place)
    environment = environment or H100
    name = results.content_id(environment)
    document = {"environment": name, "suite": suite or {}, "copy_bandwidth_gb_s": bandwidth}
    writer.document("runs", run, document)
    writer.document("environments", name, environment)
    for length, time_ms, verdict in zip(LENGTHS, times_ms, [*verdicts, *["ok"] * 4], strict=False):
        row = make_row(verdict, time_ms=time_ms, seq_len=length, device="cuda")
        times = tuple(time_ms * (1 + 0.0002 * index) for index in range(-5, 6)) if verdict == "ok" else ()
        row = dataclasses.replace(row, run=run, times_ms=times, started_at=started_at)
        writer.append(row)
    writer.close()
    return place


def jitter(run: int, scale: float = 1.0, sd: float = 0.003) -> list[float]:
    source = random.Random(run)
    return [scale * 2**number * math.exp(source.gauss(0, sd)) for number in range(4)]


def keep_two(place: Path, scale: float = 1.0, only: int | None = None, **fields: Any) -> Path:
    """Two processes in one folder, their times that many times those of a clean one; `only` in one case."""
    for run in (100, 101):
        times = [time * (scale if only in (None, number) else 1.0) for number, time in enumerate(jitter(run))]
        keep(place, f"n{run}", times, **fields)
    return place
