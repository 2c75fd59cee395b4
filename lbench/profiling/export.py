"""A profile as plain data, for other programs."""

from __future__ import annotations

import dataclasses
from typing import Any

from lbench.profiling.analysis import Analysis, Counted


def to_dict(one: Analysis) -> dict[str, Any]:
    """All tables of a profile; what is not known is None or not there."""
    document = one.kept.document
    return {
        "key": one.kept.case.key,
        "folder": str(one.kept.folder),
        "environment": document.get("environment"),
        "time_ms": one.time_ms,
        "kernels": [{**dataclasses.asdict(kernel), "kind": kernel.kind.value} for kernel in one.kernels],
        "rest": None if one.rest is None else dataclasses.asdict(one.rest),
        "findings": [
            {**dataclasses.asdict(seen), "finding": seen.finding.value, "advice": seen.finding.advice}
            for seen in one.seen
        ],
        "counters": [_counted(counted) for counted in one.counted],
        "triton": [{**dataclasses.asdict(kernel)} for kernel in one.compiled],
        "peak": None if one.peak is None else dataclasses.asdict(one.peak),
        "useful_flops": one.useful_flops,
        "executed_flops": one.executed_flops,
        "floor_bytes": one.floor_bytes,
        "moved_bytes": one.moved_bytes,
        "missing": one.missing,
    }


def _counted(one: Counted) -> dict[str, Any]:
    counters = one.longest
    return {
        "name": counters.name,
        "grid": counters.grid,
        "block": counters.block,
        "launches": one.launches,
        "time_ms": one.time_ms,
        "share": one.share,
        "bound": one.bound,
        "stalls": counters.stalls,
        "metrics": dict(counters.metrics),
    }
