"""Which tile of the plain walk is quickest? The search behind the table of tiles in the kernels' tiles.py.

    python studies/tiles.py [--dim 256] [--dim-out 256] [--dtype bf16] [--keep 3]
    python studies/tiles.py --dim 128 --dtype fp32 [--products ieee]
    python studies/tiles.py --compile-only [--card H100]

A line a tile: the shared memory, registers and stack (spills) of its forward kernel, how many programs of it
fit a multiprocessor, and, on a GPU, the time of a forward pass and its share of the memory floor, with one
program a multiprocessor and with as many as fit. The `keep` quickest are timed with their gradients, too. A
tile whose results are not those of the table's tile has no time, nor has one that breaks the process, or
hangs, which then is replaced: some are compiled wrongly. The kernels use what the table says: a tile that
wins is written there by hand, with the reason in LOG.md. A search takes about 4 s a tile.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import multiprocessing
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cards  # finds the kernels, too

TILES = tuple(itertools.product((64,), (32, 64, 128), (4, 8), (1, 2, 3)))
"""Tokens, columns of v, warps, stages."""
CLOSE = {"bf16": 0.02, "fp16": 5e-3, "fp32": 2e-5, "tf32": 5e-3}
"""So far, relative RMS, may results be from those of the table's tile: two tiles round in other places."""
REGISTERS = 65536
_kept: dict[str, Callable[..., dict[str, Any]]] = {}
"""What was replaced, as it was."""
MOST_PROGRAMS = 4
PATIENCE_S = 120.0
"""For what a tile takes 4 s for; one that hangs is ended then."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What a tile was compiled to."""

    shared_kib: float
    registers: int
    stack: int  # bytes a thread keeps in memory: spills

    def programs(self, warps: int, allowed_kib: int) -> int:
        """How many programs fit a multiprocessor, which keeps 1 KiB for each."""
        by_registers = REGISTERS // (self.registers * 32 * warps)
        return min(MOST_PROGRAMS, int((allowed_kib + 1) // (self.shared_kib + 1)), by_registers)


def main() -> int:
    """Prints the lines, then the quickest."""
    parser = argparse.ArgumentParser(description="Time tiles of the plain walk.")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--dim-out", type=int, help="as --dim by default")
    parser.add_argument("--dtype", choices=cards.DTYPES, default="bf16")
    parser.add_argument(
        "--tiles", nargs="+", type=_tile, default=TILES, metavar="TOKENS,COLUMNS,WARPS,STAGES"
    )
    parser.add_argument(
        "--products", choices=("ieee", "tf32x3", "tf32"), help="of fp32; the card's by default"
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=16384)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--copy", type=float, default=3.0, help="TB/s that the card copies, for the floor")
    parser.add_argument("--keep", type=int, default=3, help="how many are timed with gradients")
    parser.add_argument("--compile-only", action="store_true", help="needs no GPU")
    parser.add_argument("--card", choices=cards.CARDS, default="H100", help="what to compile for")
    arguments = parser.parse_args()
    arguments.dim_out = arguments.dim_out or arguments.dim
    if arguments.compile_only:
        cards._pretend_to_be(arguments.card)
        for tile in arguments.tiles:
            print(_line(tile, compile_forward(tile, arguments), cards.CARDS[arguments.card][1]), flush=True)
        return 0
    return search(arguments)


def search(arguments: argparse.Namespace) -> int:
    """Time every tile forward, the quickest with gradients."""
    import torch
    from lightning_attention import launch

    if not torch.cuda.is_available():
        print("no GPU here: --compile-only says what tiles are compiled to", file=sys.stderr)
        return 2
    allowed = launch.describe_card(torch.device("cuda", 0)).shared_bytes // 1024
    dims = 2 * arguments.dim + 2 * arguments.dim_out  # of q, k, v and o
    moved = (
        arguments.batch * arguments.tokens * arguments.heads * dims * (4 if arguments.dtype == "fp32" else 2)
    )
    floor = moved / (arguments.copy * 1e9)  # ms
    timed: list[tuple[float, tuple[int, ...], int]] = []
    with Apart() as apart:
        for tile in arguments.tiles:
            found = apart.run(compile_forward, tile, arguments)
            if not isinstance(found, Found):
                print(_line(tile, None, allowed) + (f" ({found})" if found else ""), flush=True)
                continue
            line = _line(tile, found, allowed)
            for programs in sorted({1, fit} if (fit := found.programs(tile[2], allowed)) else ()):
                milliseconds = apart.run(time_tile, tile, programs, arguments)
                if isinstance(milliseconds, str):
                    line += f"; {programs} an SM {milliseconds}"
                    continue
                timed.append((milliseconds, tile, programs))
                line += f"; {programs} an SM {milliseconds:.3f} ms, {floor / milliseconds:.2f}"
            print(line, flush=True)
        for milliseconds, tile, programs in sorted(timed)[: arguments.keep]:
            name = f"{_name(tile)}, {programs} an SM: forward {floor / milliseconds:.2f} of the floor"
            back = apart.run(time_tile, tile, programs, arguments, gradients=True)
            if isinstance(back, str):
                print(f"{name}, gradients {back}", flush=True)
                continue
            both = milliseconds + back
            print(f"{name}, forward + backward {both:.3f} ms, {11 / 4 * floor / both:.2f}", flush=True)
    return 0


class Apart:
    """A process that is replaced when a call in it fails or hangs: after a fault a GPU's context is lost."""

    def __enter__(self) -> Apart:
        self._pool = self._new()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the call returns, or as text why it did not."""
        try:
            return self._pool.submit(call, *args, **kwargs).result(PATIENCE_S)
        except Exception as error:
            self._end()
            self._pool = self._new()
            late = f"no answer in {PATIENCE_S:g} s" if isinstance(error, TimeoutError) else ""
            return f"fails: {(str(error) or late or type(error).__name__).splitlines()[0][:90]}"

    def _end(self) -> None:
        for process in list((self._pool._processes or {}).values()):
            process.kill()  # it may hang in the driver
        self._pool.shutdown()

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def time_tile(
    tile: tuple[int, ...], programs: int, arguments: argparse.Namespace, *, gradients: bool = False
) -> float:
    """Milliseconds of a forward pass, or of its gradients; RuntimeError where results are others."""
    import torch

    call = backward if gradients else forward
    inputs = make_inputs(arguments, "cuda")
    use(None)
    right = call(inputs)
    use(tile, programs, arguments.products)
    limit = CLOSE["tf32" if arguments.products == "tf32" else arguments.dtype]
    for ours, theirs in zip(call(inputs), right, strict=True):
        error = float((ours - theirs).norm(dtype=torch.float32) / theirs.norm(dtype=torch.float32))
        if not error <= limit:
            raise RuntimeError(f"results are {error:.1e} off those of the table's tile")
    return _time(lambda: call(inputs))


def make_inputs(arguments: argparse.Namespace, device: str) -> tuple[Any, ...]:
    """q, k, v and ALiBi's slopes."""
    import torch

    dtype = getattr(torch, cards.DTYPES[arguments.dtype])
    shape = (arguments.batch, arguments.tokens, arguments.heads)
    dims = (arguments.dim, arguments.dim, arguments.dim_out)
    if device == "meta":
        return *(torch.empty(*shape, dim, dtype=dtype, device=device) for dim in dims), torch.empty(
            arguments.heads, device=device
        )
    slopes = [2.0 ** (-8 * (i + 1) / arguments.heads) for i in range(arguments.heads)]
    tensors = (torch.randn(*shape, dim, dtype=dtype, device=device) * dim**-0.25 for dim in dims)
    return *tensors, torch.tensor(slopes, device=device)


def use(tile: tuple[int, ...] | None, programs: int = 1, products: str | None = None) -> None:
    """Let the plain path take this tile and these products of fp32 for all it computes; None: its own."""
    from lightning_attention import launch, tiles

    def chosen(_dtype: Any, _dim: int, dim_out: int, *_switches: Any) -> tiles.Tile:
        sizes = dict(zip(("block_t", "block_e", "num_warps", "num_stages"), tile or (), strict=True))
        fitting = sizes | {"block_e": min(sizes["block_e"], tiles.pad_dim(dim_out))}
        return tiles.Tile(**fitting, programs_per_sm=programs)

    launch.choose_tile = chosen if tile else tiles.choose_tile  # type: ignore[assignment]
    launch._constants = _constants_with(products if tile else None)
    launch._walk_variant.cache_clear()
    launch._states_variants.cache_clear()


def _constants_with(products: str | None) -> Callable[..., dict[str, Any]]:
    """How kernels get their constants, with these products of fp32."""
    from lightning_attention import launch

    made = _kept.setdefault("constants", launch._constants)
    if products is None:
        return made
    return lambda *args, **kwargs: made(*args, **kwargs) | {"PRECISION": products}


def forward(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """o."""
    from lightning_attention import autograd

    return autograd.attend(*inputs, None, None, 1.0, False, "plain")[:1]


def backward(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """dq, dk and dv of a call whose output's gradient is v."""
    from lightning_attention import autograd

    given = (*inputs, None, None, None)
    return autograd.differentiate(given, inputs[2], None, (True, True, True, False), 1.0, "plain")[:3]


def compile_forward(tile: tuple[int, ...], arguments: argparse.Namespace) -> Found | None:
    """What the forward kernel of a tile is compiled to, without launching it; None where it is not."""
    import torch
    from lightning_attention import launch, shares, variants

    found: list[Found] = []

    def compile_only(variant: Any, _programs: int, _device: Any, *args: Any) -> None:
        compiled = variant._kernel.warmup(*args, grid=(1,), **variant._constants, **variant._options)
        registers, stack = _resources(compiled.asm["cubin"])
        shared = compiled.metadata.shared / 1024
        found.append(Found(shared_kib=shared, registers=registers, stack=stack))

    use(tile, products=arguments.products)
    kept = (variants.Variant.launch, launch.share_out)
    cuts = torch.empty(2, 4, dtype=torch.int32, device="meta")
    uncarried = shares.Shares(cuts=cuts, num_programs=1, carries=False)
    try:
        variants.Variant.launch = compile_only  # type: ignore[method-assign]
        launch.share_out = lambda *_, **__: uncarried
        forward(make_inputs(arguments, "meta"))
    except Exception as error:  # a tile that Triton cannot compile is no answer, and the search goes on
        print(f"{_name(tile)}: {type(error).__name__}: {str(error)[:120]}", file=sys.stderr)
    finally:
        variants.Variant.launch, launch.share_out = kept  # type: ignore[method-assign]
    return found[0] if found else None


def _resources(cubin: bytes) -> tuple[int, int]:
    """Registers and bytes of stack of a thread, from the tool that Triton brings."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        told = subprocess.run(
            [str(tool), "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", told).groups()  # type: ignore[union-attr]
    return int(registers), int(stack)


def _time(call: Callable[[], Any]) -> float:
    from triton.testing import do_bench

    return float(do_bench(call, warmup=20, rep=100, return_mode="median"))


def _line(tile: tuple[int, ...], found: Found | None, allowed: int) -> str:
    if found is None:
        return f"{_name(tile)}: not compiled"
    used = (
        f"{found.shared_kib:.0f} of {allowed} KiB, {found.registers} registers, {found.stack} bytes of stack"
    )
    return f"{_name(tile)}: {used}, {found.programs(tile[2], allowed)} an SM"


def _name(tile: tuple[int, ...]) -> str:
    return "{} tokens x {} columns, {} warps, {} stages".format(*tile)


def _tile(text: str) -> tuple[int, ...]:
    tile = tuple(int(part) for part in text.split(","))
    if len(tile) != 4:
        raise argparse.ArgumentTypeError(f"{text!r}: four numbers, as in 64,64,8,2")
    return tile


if __name__ == "__main__":
    sys.exit(main())
