"""How many segments a sequence is cut into, from sizes the host knows; no choice here waits for the GPU."""

from __future__ import annotations

import functools

import torch

PROGRAMS_PER_SM = 1  # a walk of 8 warps with its blocks in flight takes most of an SM
ENOUGH = (
    0.75  # above this share of a full card a pre-pass (which reads k and v once more) costs more than it wins
)
MIN_SEGMENT = 512  # tokens


def choose_segments(num_tokens: int, num_programs: int, device: torch.device) -> int:
    """Segments a sequence: 1 if `num_programs` (sequences x heads x tiles) fill the card, else what does."""
    slots = count_sms(device) * PROGRAMS_PER_SM
    if num_programs >= ENOUGH * slots:
        return 1
    return max(1, min(slots // num_programs, num_tokens // MIN_SEGMENT))


@functools.cache
def count_sms(device: torch.device) -> int:
    """Multiprocessors of a GPU; 0 for a CPU, where kernels are interpreted one program at a time."""
    if device.type != "cuda":
        return 0
    return torch.cuda.get_device_properties(device).multi_processor_count
