"""What packed documents cost beside sequences of one length: the same tokens, with `cu_seqlens` and without.

    python studies/packed.py [--dtype bf16] [--out FILE.json]

Forward and forward + backward of `lightning_attention`, 131,072 tokens of 16 heads x 128 with ALiBi slopes,
on the path that it chooses. Medians of `triton.testing.do_bench`, whose caches are cold, each pair in turns:
sequences, packed, packed, sequences. Unequal documents stand beside sequences of their mean length.
Exit code 1 where documents of 2,048 tokens or more take over 1.10 times as long. Takes about a minute.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))

TOKENS, HEADS, DIM = 131072, 16, 128
LIMIT, LIMITED_FROM = 1.10, 2048
PACKS = (
    (2048, "equal"),
    (16384, "equal"),
    (131072, "equal"),
    (2048, "unequal"),
    (8192, "unequal"),
    (256, "unequal"),
)
"""Mean tokens of a document, and whether all have as many."""


def main() -> int:
    """Prints a line a pack and pass; the exit code."""
    parser = argparse.ArgumentParser(description="Time packed documents beside sequences of one length.")
    parser.add_argument("--dtype", choices=("bf16", "fp16"), default="bf16")
    parser.add_argument("--out", type=Path, help="a JSON file for the times")
    arguments = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("no GPU here: times of Triton's interpreter say nothing", file=sys.stderr)
        return 2
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[arguments.dtype]
    found = [
        {"mean": mean, "kind": kind, "pass": name, **compare(mean, kind, dtype, gradients=name == "fwdbwd")}
        for mean, kind in PACKS
        for name in ("fwd", "fwdbwd")
    ]
    for one in found:
        print(
            f"{one['kind']} documents of {one['mean']:,} tokens, {one['pass']}: {one['packed_ms']:.3f} ms, "
            f"{one['ratio']:.3f} times as long as sequences ({one['sequences_ms']:.3f} ms)"
        )
    if arguments.out:
        told = {"card": torch.cuda.get_device_name(), "torch": torch.__version__, "times": found}
        arguments.out.write_text(json.dumps(told, indent=1) + "\n")
    limited = [one for one in found if shortest(one["mean"], one["kind"]) >= LIMITED_FROM]
    return int(any(one["ratio"] > LIMIT for one in limited))


def shortest(mean: int, kind: str) -> int:
    """Tokens that a document has at the least, but for the last of a pack."""
    return mean if kind == "equal" else mean // 4


def lengths_of(mean: int, kind: str, tokens: int = TOKENS) -> list[int]:
    """Tokens of each document; unequal ones have a quarter to seven quarters of the mean."""
    if kind == "equal":
        return [mean] * (tokens // mean)
    draw = random.Random(mean)
    ends = [0]
    while ends[-1] < tokens:
        ends.append(ends[-1] + draw.randint(shortest(mean, kind), 7 * mean // 4))
    ends[-1] = tokens
    return [end - begin for begin, end in itertools.pairwise(ends)]


def compare(mean: int, kind: str, dtype: Any, *, gradients: bool) -> dict[str, float]:
    """Milliseconds of both, and packed over sequences."""
    import torch
    from lightning_attention import lightning_attention
    from triton.testing import do_bench

    slopes = torch.tensor([2.0 ** (-8 * (i + 1) / HEADS) for i in range(HEADS)], device="cuda")
    bounds = torch.tensor([0, *lengths_of(mean, kind)], device="cuda").cumsum(0)

    def prepare(batch: int, cu_seqlens: Any) -> Any:
        shape = (batch, TOKENS // batch, HEADS, DIM)
        q, k, v, do = (torch.randn(*shape, device="cuda", dtype=dtype) * DIM**-0.25 for _ in range(4))
        inputs = [x.requires_grad_(gradients) for x in (q, k, v)]

        def call() -> Any:
            o, _ = lightning_attention(*inputs, slopes, cu_seqlens=cu_seqlens)
            return torch.autograd.grad(o, inputs, do) if gradients else o

        return call

    packed, sequences = prepare(1, bounds), prepare(TOKENS // mean, None)
    times: dict[str, list[float]] = {"sequences": [], "packed": []}
    for name in ("sequences", "packed", "packed", "sequences"):
        call = packed if name == "packed" else sequences
        times[name].append(do_bench(call, warmup=20, rep=200, return_mode="median"))
    both = {f"{name}_ms": statistics.mean(each) for name, each in times.items()}
    return both | {"ratio": both["packed_ms"] / both["sequences_ms"]}


if __name__ == "__main__":
    sys.exit(main())
