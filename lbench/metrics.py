"""Metrics: derived views of a row, one entry each, computed on load and never stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lbench import floors
from lbench.results import Row
from lbench.statistics import known_interval, median

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
    return known_interval(row.times_ms)[0]


def _time_high(row: Row, _: dict[str, Any]) -> float:
    return known_interval(row.times_ms)[1]


def _ns_per_token(row: Row, run: dict[str, Any]) -> float:
    return _time(row, run) * 1e6 / row.case.tokens


def _per_s(amount: float, row: Row) -> float:
    # A clock that was set back may leave a time that is none.
    time_s = _time(row, {}) * 1e-3
    return amount / time_s if time_s > 0 else NAN


def _tokens_per_s(row: Row, _: dict[str, Any]) -> float:
    return _per_s(row.case.tokens, row)


def _enqueue(row: Row, _: dict[str, Any]) -> float:
    return median(row.enqueue_us) if row.enqueue_us else NAN


def _compile(row: Row, run: dict[str, Any]) -> float:
    return NAN if row.first_call_s is None else max(row.first_call_s - _time(row, run) * 1e-3, 0.0)


def _compiled(part: str) -> Callable[[Row, dict[str, Any]], float]:
    return lambda row, _: row.compile.get(part, NAN)


def _peak(row: Row, _: dict[str, Any]) -> float:
    return row.memory["peak"] / MIB if "peak" in row.memory else NAN


def _used(row: Row, _: dict[str, Any]) -> float:
    """GiB of inputs and peak together: what a card must have."""
    return (row.memory["inputs"] + row.memory["peak"]) / (1024 * MIB) if "peak" in row.memory else NAN


def _held(part: str) -> Callable[[Row, dict[str, Any]], float]:
    """MiB of one part of the memory ledger."""
    return lambda row, _: row.memory[part] / MIB if part in row.memory else NAN


def _workspace(row: Row, run: dict[str, Any]) -> float:
    if "workspace" in row.memory:
        return row.memory["workspace"] / MIB
    # Rows of schema 1: what was saved for backward counts in, and so does `o` in a backward pass.
    beyond = row.memory.get("outputs", 0) + row.memory.get("gradients", 0)
    return max(_peak(row, run) - beyond / MIB, 0.0) if row.memory else NAN


def _least_memory(row: Row, _: dict[str, Any]) -> float:
    if row.case.model and "least_bytes" not in row.model:
        return NAN
    if row.case.model:
        return float(row.model["least_bytes"]) / MIB
    return floors.least_memory_bytes(row.case) / MIB


def _memory_ratio(row: Row, run: dict[str, Any]) -> float:
    # A backward pass begins with what its forward saved.
    before = row.memory.get("saved", 0) if row.case.pass_name == "bwd" else 0
    used = row.memory.get("inputs", 0) / MIB + before / MIB + _peak(row, run)
    return used / _least_memory(row, run)


def _energy(row: Row, _: dict[str, Any]) -> float:
    return row.energy.get("joules_per_call", NAN) * 1e6 / row.case.tokens


def _error_limit(row: Row, _: dict[str, Any]) -> float:
    """What is allowed to the tensor with the largest error."""
    known = [name for name in row.errors if name in row.limits]
    worst = max(known, key=lambda name: row.errors[name]["rms"], default=None)
    return NAN if worst is None else row.limits[worst]["rms"]


def _error_share(row: Row, _: dict[str, Any]) -> float:
    """The worst of both figures of all tensors, each over its limit: at most 1 for a right row."""
    shares = [
        error[kind] / row.limits[name][kind]
        for name, error in row.errors.items()
        for kind in ("rms", "block")
        if name in row.limits
    ]
    return max(shares, default=NAN)


def _error(tensors: Callable[[str], bool], kind: str) -> Callable[[Row, dict[str, Any]], float]:
    def worst(row: Row, _: dict[str, Any]) -> float:
        return max((error[kind] for name, error in row.errors.items() if tensors(name)), default=NAN)

    return worst


def _is_gradient(name: str) -> bool:
    return name not in ("o", "state", "logits") and not name.endswith((" o", " state"))


def _floor(row: Row, run: dict[str, Any]) -> float:
    bandwidth_gb_s = run.get("copy_bandwidth_gb_s")
    if not bandwidth_gb_s:
        return NAN
    if row.case.model:  # a row that was skipped knows its parameters alone
        return float(row.model.get("floor_bytes", NAN)) / (bandwidth_gb_s * 1e9) * 1e3
    return floors.floor_bytes(row.case) / (bandwidth_gb_s * 1e9) * 1e3


def _floor_share(row: Row, run: dict[str, Any]) -> float:
    return _per_s(_floor(row, run) * 1e-3, row)


def _useful_flops(row: Row) -> float:
    # A model's are kept with its row: its config.json may be gone.
    return row.model.get("useful_flops", NAN) if row.case.model else floors.useful_flops(row.case)


def _mfu(flops: str) -> Callable[[Row, dict[str, Any]], float]:
    """FLOPs of a model over time and the matrix rate that the run measured."""

    def share(row: Row, run: dict[str, Any]) -> float:
        rate = (run.get("matrix_tflop_s") or {}).get(row.case.dtype)
        return _per_s(row.model.get(flops, NAN), row) / (rate * 1e12) if rate else NAN

    return share


def _mixer_share(row: Row, _: dict[str, Any]) -> float:
    return row.model.get("mixer_ms", NAN) / row.model.get("metered_ms", NAN)


def _useful_tflop_s(row: Row, _: dict[str, Any]) -> float:
    return _per_s(_useful_flops(row), row) / 1e12


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
        _metric("compile_cold_s", "compilation, first case of a process", "s", "lower", _compiled("cold_s")),
        _metric("compile_length_s", "compilation for a new length", "s", "lower", _compiled("length_s")),
        _metric("variants", "kernel variants made ready", "", "lower", _compiled("variants")),
        _metric("peak_mib", "peak memory beyond the inputs", "MiB", "lower", _peak),
        _metric("used_gib", "memory at the peak, inputs included", "GiB", "lower", _used),
        _metric("inputs_mib", "memory of the inputs", "MiB", "lower", _held("inputs")),
        _metric("outputs_mib", "memory of the output", "MiB", "lower", _held("outputs")),
        _metric("gradients_mib", "memory of the gradients", "MiB", "lower", _held("gradients")),
        _metric("saved_mib", "memory saved for backward", "MiB", "lower", _held("saved")),
        _metric("workspace_mib", "workspace at the peak", "MiB", "lower", _workspace),
        _metric("slack_mib", "memory the allocator held unused", "MiB", "lower", _held("slack")),
        _metric("reserved_mib", "memory torch took from the device", "MiB", "lower", _held("reserved")),
        _metric("device_mib", "memory in use by the device's own reading", "MiB", "lower", _held("device")),
        _metric("least_mib", "least memory of inputs and results", "MiB", "lower", _least_memory),
        _metric("memory_ratio", "peak memory over the least", "", "lower", _memory_ratio),
        _metric("energy_uj_per_token", "energy per token above idle", "uJ", "lower", _energy),
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
        _metric("error_rms", "relative RMS error, worst tensor", "", "lower", _error(lambda _: True, "rms")),
        _metric("error_limit", "relative RMS error allowed to that tensor", "", "lower", _error_limit),
        _metric("error_share", "worst error as a share of what is allowed", "", "lower", _error_share),
        _metric("floor_ms", "memory floor", "ms", "lower", _floor),
        _metric("floor_share", "share of the memory floor", "", "higher", _floor_share),
        _metric(
            "mfu_useful", "useful FLOPs as a share of the matrix rate", "", "higher", _mfu("useful_flops")
        ),
        _metric(
            "mfu_executed",
            "FLOPs with recomputed ones as a share of the matrix rate",
            "",
            "higher",
            _mfu("executed_flops"),
        ),
        _metric("mixer_share", "share of time in the mixers", "", "lower", _mixer_share),
        _metric("weights_mib", "memory of a model's weights", "MiB", "lower", _held("weights")),
        _metric("optimizer_mib", "memory of the optimizer's moments", "MiB", "lower", _held("optimizer")),
        _metric("cache_mib", "memory of states, or keys and values", "MiB", "lower", _held("cache")),
        _metric("useful_tflop_s", "useful arithmetic", "TFLOP/s", "higher", _useful_tflop_s),
    )
}
"""Every metric by name. To add one, add an entry."""
