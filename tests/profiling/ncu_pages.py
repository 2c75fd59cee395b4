"""Raw pages as `ncu --page raw --csv --print-units base` prints them, cut down to a few columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

HEAD = ("ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Context", "Stream", "Block Size",
        "Grid Size", "Device", "CC")  # fmt: skip
UNITS = {
    "gpu__time_duration.sum": "ns",
    "dram__bytes_read.sum": "byte",
    "dram__bytes_write.sum": "byte",
    "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed": "%",
    "lts__t_sector_hit_rate.pct": "%",
    "lts__throughput.avg.pct_of_peak_sustained_elapsed": "%",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "%",
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed": "%",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "%",
    "sm__ops_path_tensor_src_bf16_dst_fp32.sum": "",
    "sm__ops_path_tensor_op_hgmma_src_bf16_dst_fp32_sparsity_off.sum": "",
    "sm__ops_path_tensor_src_tf32_dst_fp32.sum": "",
    "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum": "inst",
    "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio": "inst",
    "smsp__average_warps_issue_stalled_long_scoreboard_not_issued_per_issue_active.ratio": "inst",
    "smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio": "inst",
    "smsp__average_warps_issue_stalled_gmma_per_issue_active.ratio": "inst",
    "smsp__average_warps_issue_stalled_selected_per_issue_active.ratio": "inst",
    "launch__registers_per_thread": "register/thread",
    "launch__waves_per_multiprocessor": "",
}
WALK = {
    "gpu__time_duration.sum": "985,120",
    "dram__bytes_read.sum": "1,612,345,088",
    "dram__bytes_write.sum": "536,870,912",
    "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed": "74.12",
    "lts__t_sector_hit_rate.pct": "31.4",
    "lts__throughput.avg.pct_of_peak_sustained_elapsed": "40.0",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "35.5",
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed": "22.8",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "12.5",
    "sm__ops_path_tensor_src_bf16_dst_fp32.sum": "206,158,430,208",
    "sm__ops_path_tensor_op_hgmma_src_bf16_dst_fp32_sparsity_off.sum": "206,158,430,208",
    "sm__ops_path_tensor_src_tf32_dst_fp32.sum": "0",
    "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum": "1,000,000",
    "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio": "1.50",
    "smsp__average_warps_issue_stalled_long_scoreboard_not_issued_per_issue_active.ratio": "9.99",
    "smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio": "0.50",
    "smsp__average_warps_issue_stalled_gmma_per_issue_active.ratio": "3.00",
    "smsp__average_warps_issue_stalled_selected_per_issue_active.ratio": "1.00",
    "launch__registers_per_thread": "168",
    "launch__waves_per_multiprocessor": "0.97",
}
LATE = {
    **WALK,
    "gpu__time_duration.sum": "120,000,000",
    "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed": "1.9",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "4.0",
    "lts__throughput.avg.pct_of_peak_sustained_elapsed": "3.0",
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed": "3.1",
    "sm__ops_path_tensor_src_bf16_dst_fp32.sum": "n/a",
}


def page(kernels: Sequence[tuple[str, str, Mapping[str, str]]], before: str = "") -> str:
    """The page of (name, grid, metrics); `before` is what ncu said ahead of it."""
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow([*HEAD, *UNITS])
    writer.writerow([""] * len(HEAD) + list(UNITS.values()))
    for number, (name, grid, metrics) in enumerate(kernels):
        where: list[Any] = [
            number,
            4711,
            "python3.12",
            "somewhere",
            name,
            1,
            7,
            "(256, 1, 1)",
            grid,
            0,
            "9.0",
        ]
        writer.writerow([*where, *(metrics.get(metric, "") for metric in UNITS)])
    return before + file.getvalue()


PAGE = page([("walk_kernel", "(128, 1, 1)", WALK), ("_bwd_inter_kernel", "(16, 1, 1)", LATE)])
