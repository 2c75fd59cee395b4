"""Rows as `lbench.load` gives them, made up from what an H100 measured, without a run."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import pandas as pd

from lbench.lengths import parse_lengths
from lbench.metrics import METRICS

GPU = "NVIDIA H100 80GB HBM3"
HEADS, HEAD_DIM = 16, 128
LIMIT_MS = 60_000.0
CARD_MIB = 80_000.0

# backend -> (mechanism, fwd us per 1,024 tokens, fwd us per 1,024 x 1,024 token pairs of a sequence, backward
# over forward, MiB per 1,024 tokens, MiB per 1,024 x 1,024 pairs, slowdown where batch x heads does not fill
# the card, fixed us)
BACKENDS: dict[str, tuple[str, float, float, float, float, float, float, float]] = {
    "softmax_eager": ("softmax", 20, 130, 3.5, 40, 96, 1.0, 90),
    "sdpa_math": ("softmax", 25, 160, 3.5, 40, 128, 1.0, 120),
    "sdpa_efficient": ("softmax", 8, 18, 4.4, 24, 0, 1.2, 25),
    "sdpa_flash": ("softmax", 7, 12.8, 3.6, 32, 0, 1.1, 20),
    "sdpa_cudnn": ("softmax", 6, 8.4, 3.3, 24, 0, 1.1, 20),
    "flash_attn2": ("softmax", 7, 11.4, 3.8, 24, 0, 1.1, 25),
    "flash_attn3": ("softmax", 5, 6.4, 1, 16, 0, 1.0, 25),
    "flex_attention": ("softmax", 8, 13.5, 4.2, 24, 0, 1.1, 60),
    "lightning_eager": ("lightning", 160, 0, 4.0, 120, 0, 6.0, 900),
    "lightning_triton": ("lightning", 6.9, 0, 4.0, 12, 0, 1.08, 18),
    "lightning_authors": ("lightning", 39, 0, 6.8, 16, 0, 4.2, 40),
    "lightning_fla_chunk": ("lightning", 15, 0, 4.6, 50, 0, 1.12, 70),
    "lightning_fla_recurrent": ("lightning", 48, 0, 3.9, 66, 0, 9.0, 40),
    "linear_eager": ("linear", 120, 0, 3.8, 110, 0, 5.0, 800),
    "linear_triton": ("linear", 6.4, 0, 4.1, 12, 0, 1.1, 18),
    "linear_fla_chunk": ("linear", 14.5, 0, 4.6, 50, 0, 1.1, 65),
    "linear_authors": ("linear", 36, 0, 6.0, 16, 0, 4.0, 40),
    "retention_fla_chunk": ("retention", 15.5, 0, 4.7, 50, 0, 1.1, 75),
    "retention_triton": ("retention", 7.1, 0, 4.0, 12, 0, 1.08, 18),
    "gla_eager": ("gla", 900, 0, 5.0, 160, 0, 3.0, 2000),
    "gla_fla_chunk": ("gla", 31, 0, 4.3, 84, 0, 1.1, 110),
    "mamba1_ssm": ("mamba1", 40, 0, 4.9, 12, 0, 1.05, 30),
    "mamba1_eager": ("mamba1", 8000, 0, 4.0, 600, 0, 1.0, 500),
    "mamba2_ssm": ("mamba2", 25, 0, 6.1, 84, 0, 1.1, 150),
    "mamba2_eager": ("mamba2", 210, 0, 4.0, 200, 0, 1.2, 1500),
}

PASS_LIMITS = {"flash_attn3": ("fwd",), "linear_authors": ("fwd",)}
UNAVAILABLE = {"flex_attention": "no module named triton_extra; pip install lbench"}


def row(**fields: object) -> dict[str, object]:
    """One line of a frame: an `ok` forward row of our backend with whatever `fields` say otherwise."""
    line: dict[str, object] = {
        "suite": "lengths",
        "backend": "lightning_triton",
        "mechanism": "lightning",
        "pass": "fwd",
        "device": "cuda",
        "gpu": GPU,
        "cpu": None,
        "dtype": "bf16",
        "batch": 1,
        "seq_len": 1024,
        "tokens": 1024,
        "heads": HEADS,
        "head_dim": HEAD_DIM,
        "head_dim_v": HEAD_DIM,
        "decay": "alibi",
        "verdict": "ok",
        "reason": "",
        "samples": 0,
        **dict.fromkeys(METRICS, math.nan),
        "lbench_commit": "0123abc",
        "torch": "2.13.0",
        "triton": "3.9.0",
        "driver": "580.82",
        "started_at": "2026-11-22T12:00:00Z",
        "kv_heads": HEADS,
        "inputs": "model",
        "seed": 0,
        "coverage": "all",
        "doubts": "",
        "run": "r1",
        "environment": "e1",
        "key": "",
    }
    line.update(fields)
    if line["verdict"] == "ok" and not math.isnan(time_ms := float(str(line["time_ms"]))):
        tokens = int(str(line["tokens"]))
        line["ns_per_token"] = time_ms * 1e6 / tokens
        line["tokens_per_s"] = tokens / time_ms * 1e3
        if math.isnan(float(str(line["time_ms_low"]))):
            line["time_ms_low"], line["time_ms_high"] = time_ms * 0.985, time_ms * 1.02
    line["key"] = line["key"] or "{backend},{pass},b{batch},t{seq_len},{dtype},{device}".format(**line)
    line["reproduce"] = f"lbench run --case {line['key']}"
    return line


def frame(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """The rows as `lbench.load` would give them."""
    return pd.DataFrame(list(rows))


def h100(
    lengths: str = "1k..256k",
    passes: Sequence[str] = ("fwd", "fwdbwd"),
    backends: Sequence[str] = tuple(BACKENDS),
    tokens: int | None = 262_144,
) -> pd.DataFrame:
    """A sweep at batch 1 and, with `tokens`, at constant tokens; failures included."""
    points = {(1, length) for length in parse_lengths(lengths)}
    if tokens:
        points |= {(tokens // length, length) for length in parse_lengths(lengths)}
    return frame(
        [
            line
            for backend in backends
            for pass_name in passes
            for line in _sweep(backend, pass_name, sorted(points))
        ]
    )


def _sweep(backend: str, pass_name: str, points: Sequence[tuple[int, int]]) -> list[dict[str, object]]:
    lines, ended = [], set()
    for batch, seq_len in points:
        line = _case(backend, pass_name, batch, seq_len)
        if batch == 1 and "out of memory" in ended and line["verdict"] == "out_of_memory":
            line["verdict"] = "skipped"
            line["reason"] = "predicted to need more memory than the device has"
        if batch == 1 and line["verdict"] == "out_of_memory":
            ended.add("out of memory")
        lines.append(line)
    return lines


def _case(backend: str, pass_name: str, batch: int, seq_len: int) -> dict[str, object]:
    mechanism, linear, square, backward, mib, mib_square, unfilled, fixed = BACKENDS[backend]
    kilo = batch * seq_len / 1024
    pairs = kilo * seq_len / 1024 / 2
    factor = {"fwd": 1.0, "bwd": backward - 1, "fwdbwd": backward, "decode": 0.001}[pass_name]
    idle = 1 + (unfilled - 1) * min(kilo / 64, 1) if batch * HEADS < 64 else 1.0
    wobble = 1 + (zlib.crc32(f"{backend}{batch}{seq_len}{pass_name}".encode()) % 100 - 50) / 1500
    time_ms = (fixed * factor**0.5 + (linear * kilo + square * pairs) * factor * idle) * wobble / 1000
    peak = mib * kilo * (1 if pass_name == "fwd" else 2) + 2 * mib_square * pairs * (
        1 if pass_name == "fwd" else 3
    )
    fields: dict[str, object] = {
        "backend": backend,
        "mechanism": mechanism,
        "pass": pass_name,
        "batch": batch,
        "seq_len": seq_len,
        "tokens": batch if pass_name == "decode" else batch * seq_len,
        "floor_ms": (1 if pass_name == "decode" else seq_len)
        * batch
        * HEADS
        * HEAD_DIM
        * 2
        * (4 if pass_name == "fwd" else 11)
        / 3e9,
    }
    if backend in UNAVAILABLE:
        return row(**fields, verdict="unavailable", reason=UNAVAILABLE[backend])
    if pass_name not in PASS_LIMITS.get(backend, (pass_name,)):
        return row(**fields, verdict="unsupported", reason=f"pass {pass_name} (has fwd)")
    if backend == "linear_authors" and batch * seq_len >= 131_072 and batch == 1:
        return row(**fields, verdict="wrong", reason="o: relative RMS error 0.31, limit 0.011")
    if peak > CARD_MIB:
        return row(**fields, verdict="out_of_memory", reason="tried to allocate 64 GiB")
    if time_ms > LIMIT_MS / 20:
        return row(**fields, verdict="timeout", reason="over the limit of 60 s a case")
    floor_ms = float(str(fields["floor_ms"]))
    measured: dict[str, object] = {
        "time_ms_low": math.nan,
        "time_ms_high": math.nan,
        "samples": 30,
        "peak_mib": peak,
        "workspace_mib": peak * 0.6,
        "enqueue_us": 40.0,
        "compile_s": 12.0,
        "error_out": 2.66e-3,
        "error_grad": 2.7e-3 if pass_name != "fwd" else math.nan,
        "error_block": 5e-3,
        "error_share": 0.3,
        "floor_share": floor_ms / time_ms,
        "useful_tflop_s": 100 / time_ms,
        "doubts": "slow first samples; run again with more warm-up" if seq_len == 1024 else "",
    }
    return row(**(dict.fromkeys(METRICS, time_ms) | fields | measured))


def cpu(backends: Sequence[str] = ("lightning_eager", "softmax_eager", "sdpa_math")) -> pd.DataFrame:
    """A quick sweep on a CPU: few backends, no memory figures, one pass."""
    made = h100("512,1k,2k,4k,8k", ("fwd",), backends, tokens=None)
    made[["device", "gpu", "dtype"]] = ["cpu", None, "fp32"]
    for column in ("time_ms", "time_ms_low", "time_ms_high", "ns_per_token"):
        made[column] *= 40
    made["tokens_per_s"] /= 40
    made[["peak_mib", "workspace_mib", "floor_ms", "floor_share"]] = math.nan
    return made
