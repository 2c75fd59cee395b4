"""Is compute-sanitizer clean on our kernels? Small ragged shapes, both paths, with gradients, and decoding.

    python studies/sanitizer.py                       # memcheck: reads and writes out of bounds
    python studies/sanitizer.py --tool racecheck      # or initcheck, synccheck

compute-sanitizer comes with CUDA's toolkit, or with `pip install nvidia-cuda-sanitizer-api`. Every tensor has
memory of its own while it watches, so that one read behind another is seen. The exit code is 0 where it found
nothing, 1 where it did, 2 where it is not at hand.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import mutant_calls
import torch
from lightning_attention import lightning_attention, lightning_attention_step
from lightning_attention.paths import force_path

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
WAYS = (mutant_calls.whole, mutant_calls.documents, mutant_calls.halves)
DIMS = {"hopper": ((64, 64), (128, 128), (64, 128)), "plain": ((16, 16), (24, 40), (128, 256))}
SEQUENCES = ((1, 0.7), (65, 0.004), (200, 0.0), (200, 0.7))
"""Tokens and a slope: too few for a block, a block and one, carried states, short windows."""


def calls(device: str) -> Iterator[Callable[[], None]]:
    """Every way to reach a kernel on this device."""
    on_hopper = device == "cuda" and torch.cuda.get_device_capability() == (9, 0)
    for path in ("plain", *["hopper"] * on_hopper):
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        for dims in DIMS[path]:
            for way, (length, slope) in itertools.product(WAYS, SEQUENCES):
                if length > 1 or way is not mutant_calls.halves:
                    yield _attend(way, path, dims, length, slope, dtype, device)
    for batch, heads in ((1, 1), (3, 5)):
        yield _step(batch, heads, device)


def _attend(
    way: Callable[..., torch.Tensor],
    path: str,
    dims: tuple[int, int],
    length: int,
    slope: float,
    dtype: torch.dtype,
    device: str,
) -> Callable[[], None]:
    def call() -> None:
        q, k = (torch.randn(2, length, 3, dims[0], dtype=dtype, device=device) for _ in range(2))
        v = torch.randn(2, length, 3, dims[1], dtype=dtype, device=device)
        slopes = slope * torch.arange(1, 4, dtype=torch.float32, device=device)
        q, k, v = (x.requires_grad_() for x in (q, k, v))
        with force_path(path):
            o = way(lightning_attention, q, k, v, slopes, 0.5)
            torch.autograd.grad(o, (q, k, v), torch.randn_like(o))

    return call


def _step(batch: int, heads: int, device: str) -> Callable[[], None]:
    def call() -> None:
        q, k = (torch.randn(batch, heads, 24, device=device) for _ in range(2))
        v = torch.randn(batch, heads, 40, device=device)
        state = torch.randn(batch, heads, 24, 40, device=device)
        lightning_attention_step(q, k, v, torch.rand(heads, device=device), state, inplace=True)

    return call


def sanitizer() -> str | None:
    """The program, from the toolkit or from the package beside this Python."""
    places = Path(sysconfig.get_path("purelib")).glob("nvidia/*/bin/compute-sanitizer")
    return shutil.which("compute-sanitizer") or next(map(str, places), None)


def main() -> int:
    """Runs the calls under the tool; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", choices=TOOLS, default="memcheck")
    parser.add_argument("--calls", action="store_true", help="only make the calls, unwatched")
    given = parser.parse_args()
    if given.calls:
        made = list(calls("cuda" if torch.cuda.is_available() else "cpu"))
        for call in made:
            call()
            call()  # repeats the launches of the first
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        print(f"{len(made)} calls made")
        return 0
    program = sanitizer()
    if program is None or not torch.cuda.is_available():
        print("needs a GPU and compute-sanitizer: pip install nvidia-cuda-sanitizer-api", file=sys.stderr)
        return 2
    watched = [program, "--tool", given.tool, "--error-exitcode", "1", sys.executable, __file__, "--calls"]
    return subprocess.run(watched, env={**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}).returncode


if __name__ == "__main__":
    sys.exit(main())
