"""Sweeps to which faults happen, and what is left of them before and after a resume: one function each."""

from experiments.clocks import clocks
from experiments.damage import flipped, truncated
from experiments.disks import file_limit, full_disk, read_only_disk
from experiments.functions import gpu_kernels, gpu_without_nvml, kernels
from experiments.interrupts import interrupted, interrupted_anywhere, unheard
from experiments.kills import killed_runner, killed_writer
from experiments.sweep import Experiment

__all__ = [
    "Experiment",
    "clocks",
    "file_limit",
    "flipped",
    "full_disk",
    "gpu_kernels",
    "gpu_without_nvml",
    "interrupted",
    "interrupted_anywhere",
    "kernels",
    "killed_runner",
    "killed_writer",
    "read_only_disk",
    "truncated",
    "unheard",
]
