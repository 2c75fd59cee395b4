"""Do the plain kernels fit cards that are not here? Compiles them for each, and launches nothing.

    python studies/cards.py [--card NAME ...] [--dtype bf16 fp32] [--dim 64 128 256]

A line a card, dtype and head dim: the most shared memory any kernel of forward, backward (with carried
states) and decoding takes, beside what a program may have there. Needs Triton and no GPU. Exit code 1 where
a kernel asks for more than there is. Compiling takes about 20 s a line.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))

CARDS = {
    "A100": ((8, 0), 163),
    "A10": ((8, 6), 99),
    "L40S": ((8, 9), 99),
    "H100": ((9, 0), 227),
    "B200": ((10, 0), 227),
    "RTX 5090": ((12, 0), 99),
}
"""Compute capability, and KiB of shared memory a program may take."""
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
HEADS, TOKENS, PROGRAMS = 8, 65536, 64


def main() -> int:
    """Prints the lines; the exit code."""
    parser = argparse.ArgumentParser(description="Compile the plain kernels for cards that are not here.")
    parser.add_argument("--card", nargs="+", choices=CARDS, default=list(CARDS))
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=["bf16", "fp32"])
    parser.add_argument("--dim", nargs="+", type=int, default=[64, 128, 256])
    arguments = parser.parse_args()
    fit = True
    for card in arguments.card:
        allowed = CARDS[card][1]
        with ProcessPoolExecutor(1) as process:  # kernels are kept by device, not by card: one process each
            for dtype in arguments.dtype:
                for dim in arguments.dim:
                    taken = process.submit(shared_kib, card, dtype, dim).result()
                    most = max(taken, key=lambda name: taken[name])
                    fit &= taken[most] <= allowed
                    word = "fits" if taken[most] <= allowed else "does NOT fit"
                    line = f"{card:9} {dtype} D = E = {dim:3}: {taken[most]:4.0f} of {allowed} KiB ({most})"
                    print(f"{line}: {word}", flush=True)
    return 0 if fit else 1


def shared_kib(card: str, dtype: str, dim: int, *, backward: bool = True) -> dict[str, float]:
    """KiB of shared memory that each kernel takes on a card, by name; compiled in this process."""
    import torch
    from lightning_attention import autograd, launch, shares, step, variants

    taken: dict[str, float] = {}

    def compile_only(variant: Any, _programs: int, _device: Any, *args: Any) -> None:
        kernel, options = variant._kernel, variant._options
        compiled = kernel.warmup(*args, grid=(1,), **variant._constants, **options)
        name = kernel.__name__
        taken[name] = max(taken.get(name, 0.0), compiled.metadata.shared / 1024)

    _pretend_to_be(card)
    capability, kib = CARDS[card]
    there = launch.Card(capability=capability, num_sms=PROGRAMS, shared_bytes=kib * 1024)
    launch.describe_card = lambda _device: there  # type: ignore[assignment]
    cuts = torch.empty(PROGRAMS + 1, 4, dtype=torch.int32, device="meta")
    carrying = shares.Shares(cuts=cuts, num_programs=PROGRAMS, carries=True)
    launch.share_out = lambda *_, **__: carrying
    variants.Variant.launch = compile_only  # type: ignore[method-assign]

    def make(*shape: int) -> Any:
        return torch.empty(*shape, dtype=getattr(torch, DTYPES[dtype]), device="meta").requires_grad_()

    slopes = torch.empty(HEADS, device="meta")
    q, k, v = (make(1, TOKENS, HEADS, dim) for _ in range(3))
    given = (q, k, v, slopes, None, None, 1.0, True, "plain")
    o, final = autograd.LightningAttention.apply(*given)
    if backward:
        torch.autograd.grad([o, final], [q, k, v], [torch.empty_like(o), torch.empty_like(final)])
    state = torch.empty(4, HEADS, dim, dim, device="meta")
    step.launch_step(*(make(4, HEADS, dim).detach() for _ in range(3)), slopes, state, 1.0, inplace=False)
    return taken


def _pretend_to_be(card: str) -> None:
    """Let Triton compile for a card: a driver that only says which it is."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    (major, minor), _ = CARDS[card]

    class Driver:
        def get_current_target(self) -> Any:
            return GPUTarget("cuda", 10 * major + minor, 32)

        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, _device: int) -> int:
            return 0

    driver.set_active(Driver())


if __name__ == "__main__":
    sys.exit(main())
