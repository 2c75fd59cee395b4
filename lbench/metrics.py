"""Metrics: derived views of a row, one entry each, computed on load and never stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lbench import mechanisms
from lbench.results import Row
from lbench.statistics import median, median_interval

MIB = 1024 * 1024
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One quantity of a row: how to compute it, its unit, and which direction is better."""

    name: str
    title: str
    unit: str
    better: str
    """lower | higher."""
    value: Callable[[Row, dict[str, Any]], float]
    """(row, its run document) -> the value, NaN where the row has none."""


def _time(row: Row, _: dict[str, Any]) -> float:
    return median(row.times_ms) if row.times_ms else NAN


def _time_low(row: Row, _: dict[str, Any]) -> float:
    return median_interval(row.times_ms)[0] if row.times_ms else NAN


def _time_high(row: Row, _: dict[str, Any]) -> float:
    return median_interval(row.times_ms)[1] if row.times_ms else NAN


def _ns_per_token(row: Row, run: dict[str, Any]) -> float:
    return _time(row, run) * 1e6 / row.case.tokens


def _tokens_per_s(row: Row, run: dict[str, Any]) -> float:
    return row.case.tokens / (_time(row, run) * 1e-3)


def _enqueue(row: Row, _: dict[str, Any]) -> float:
    return median(row.enqueue_us) if row.enqueue_us else NAN


def _compile(row: Row, run: dict[str, Any]) -> float:
    return NAN if row.first_call_s is None else max(row.first_call_s - _time(row, run) * 1e-3, 0.0)


def _peak(row: Row, _: dict[str, Any]) -> float:
    return row.memory["peak"] / MIB if "peak" in row.memory else NAN


def _workspace(row: Row, run: dict[str, Any]) -> float:
    beyond = row.memory.get("outputs", 0) + row.memory.get("gradients", 0)
    return max(_peak(row, run) - beyond / MIB, 0.0) if row.memory else NAN


def _error(tensors: Callable[[str], bool], kind: str) -> Callable[[Row, dict[str, Any]], float]:
    def worst(row: Row, _: dict[str, Any]) -> float:
        return max((error[kind] for name, error in row.errors.items() if tensors(name)), default=NAN)

    return worst


def _is_gradient(name: str) -> bool:
    return name not in ("o", "state")


def _floor(row: Row, run: dict[str, Any]) -> float:
    bandwidth_gb_s = run.get("copy_bandwidth_gb_s")
    if not bandwidth_gb_s:
        return NAN
    return mechanisms.load(row.case.mechanism).floor_bytes(row.case) / (bandwidth_gb_s * 1e9) * 1e3


def _floor_share(row: Row, run: dict[str, Any]) -> float:
    return _floor(row, run) / _time(row, run)


def _useful_tflop_s(row: Row, run: dict[str, Any]) -> float:
    return mechanisms.load(row.case.mechanism).useful_flops(row.case) / (_time(row, run) * 1e-3) / 1e12


def _metric(name: str, title: str, unit: str, better: str, value: Callable[..., float]) -> Metric:
    return Metric(name=name, title=title, unit=unit, better=better, value=value)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _metric("time_ms", "time", "ms", "lower", _time),
        _metric("time_ms_low", "time, low end of the 95 % interval", "ms", "lower", _time_low),
        _metric("time_ms_high", "time, high end of the 95 % interval", "ms", "lower", _time_high),
        _metric("ns_per_token", "time per token", "ns", "lower", _ns_per_token),
        _metric("tokens_per_s", "throughput", "tokens/s", "higher", _tokens_per_s),
        _metric("enqueue_us", "host time to enqueue a call", "us", "lower", _enqueue),
        _metric("compile_s", "compilation and autotuning", "s", "lower", _compile),
        _metric("peak_mib", "peak memory beyond the inputs", "MiB", "lower", _peak),
        _metric("workspace_mib", "memory beyond inputs, output and gradients", "MiB", "lower", _workspace),
        _metric(
            "error_out",
            "relative RMS error of the output",
            "",
            "lower",
            _error(lambda n: not _is_gradient(n), "rms"),
        ),
        _metric("error_grad", "relative RMS error, worst gradient", "", "lower", _error(_is_gradient, "rms")),
        _metric(
            "error_block",
            "relative RMS error, worst 64-token block",
            "",
            "lower",
            _error(lambda _: True, "block"),
        ),
        _metric("floor_ms", "memory floor", "ms", "lower", _floor),
        _metric("floor_share", "share of the memory floor", "", "higher", _floor_share),
        _metric("useful_tflop_s", "useful arithmetic", "TFLOP/s", "higher", _useful_tflop_s),
    )
}
"""Every metric by name. To add one, add an entry."""
