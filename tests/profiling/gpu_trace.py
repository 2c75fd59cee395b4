"""A trace as torch.profiler writes it on a GPU: two calls, each a cast, a walk, a copy and a backward."""

from __future__ import annotations

from typing import Any

from lbench.profiling.trace import MARK

STREAM, HOST, ENGINE = 7, 100, 101
CALL_US = 1000.0


def gpu_events(late_us: float = 40.0) -> list[dict[str, Any]]:
    """`late_us`: how long after the first kernel's end the host launches the backward."""
    events: list[dict[str, Any]] = [{"ph": "M", "name": "process_name", "ts": 0, "pid": 1, "args": {}}]
    for call in range(2):
        events += _call(call * CALL_US, 100 * call, late_us)
    # What the timer enqueues to empty the L2, outside of any call.
    events += _launched("cudaMemsetAsync", "Memset (Device)", 5.0, 6.0, 300.0, 999, HOST, "gpu_memset")
    return events


def _call(at: float, ids: int, late_us: float) -> list[dict[str, Any]]:
    cast = {"Input type": ["float", "c10::BFloat16", ""], "Input Dims": [[4, 8], [4, 8], []]}
    transposed = {
        "Input type": ["c10::BFloat16", "c10::BFloat16", ""],
        "Input Dims": [[4, 8], [4, 8], []],
        "Input Strides": [[8, 1], [1, 4], []],
    }
    ran = at + 200.0
    events = [
        _host(MARK, "user_annotation", at + 10, 700, HOST),
        _host("aten::to", "cpu_op", at + 12, 18, HOST),
        _host("aten::_to_copy", "cpu_op", at + 13, 16, HOST),
        _host("aten::copy_", "cpu_op", at + 14, 14, HOST, cast),
        *_launched("cudaLaunchKernel", COPY_KERNEL, at + 15, ran, 50, ids + 1, HOST),
        _host("LightningAttention", "cpu_op", at + 40, 60, HOST),
        *_launched("cuLaunchKernelEx", "walk_kernel", at + 50, ran + 52, 100, ids + 2, HOST, triton=True),
        _host("aten::contiguous", "cpu_op", at + 110, 20, HOST),
        _host("aten::copy_", "cpu_op", at + 112, 15, HOST, transposed),
        *_launched("cudaLaunchKernel", COPY_KERNEL, at + 115, ran + 152, 20, ids + 3, HOST),
        _host("LightningAttentionBackward", "cpu_op", at + 150, 250, ENGINE),
        _host("cudaStreamSynchronize", "cuda_runtime", at + 160, 30, ENGINE),
        # The device is done at ran + 172; the host comes late.
        *_launched(
            "cuLaunchKernelEx", "walk_kernel", ran + 167 + late_us, ran + 174 + late_us, 300, ids + 4, ENGINE,
            triton=True,
        ),
    ]  # fmt: skip
    memory = {"Bytes": 4096, "Addr": 17, "Device Type": 1}
    return [*events, {"ph": "i", "name": "[memory]", "ts": at + 45, "pid": 1, "tid": HOST, "args": memory}]


COPY_KERNEL = (
    "void at::native::elementwise_kernel<128, 4, at::native::gpu_kernel_impl_nocast<at::native::"
    "direct_copy_kernel_cuda(at::TensorIteratorBase&)::{lambda()#3}> >(int, at::native::array<char*, 2>)"
)


def _host(
    name: str, category: str, start: float, time: float, thread: int, args: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": name,
        "cat": category,
        "ts": start,
        "dur": time,
        "pid": 1,
        "tid": thread,
        "args": args or {},
    }


def _launched(
    call: str,
    kernel: str,
    at: float,
    start: float,
    time: float,
    correlation: int,
    thread: int,
    category: str = "kernel",
    triton: bool = False,
) -> list[dict[str, Any]]:
    tied = {"correlation": correlation}
    launch = {"grid": [64, 1, 1], "block": [256, 1, 1], "registers per thread": 168, "shared memory": 65536}
    if not triton:
        launch = {"grid": [2048, 1, 1], "block": [128, 1, 1], "registers per thread": 32, "shared memory": 0}
    ran = _host(kernel, category, start, time, STREAM, {**tied, **(launch if category == "kernel" else {})})
    runtime = "cuda_driver" if call.startswith("cuL") else "cuda_runtime"
    return [_host(call, runtime, at, 5.0, thread, tied), {**ran, "pid": 0}]
