"""Without a GPU the kernels run in Triton's interpreter (fp32, fp16, tiny sizes); with one, compiled."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when kernels are defined, so before they are imported


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """New floating-point memory holds NaN: what a kernel leaves unwritten, or reads unwritten, shows."""
    empty = torch.empty

    def poisoned(*args, **kwargs):
        x = empty(*args, **kwargs)
        return x.fill_(float("nan")) if x.is_floating_point() else x

    monkeypatch.setattr(torch, "empty", poisoned)


@pytest.fixture
def force_shares(monkeypatch: pytest.MonkeyPatch):
    """Call with a number: the work is then shared out among so many programs, whatever the device.

    Warm-ups are then no longer than a share, so that short sequences carry states too.
    """
    from lightning_attention import shares

    monkeypatch.setattr(shares, "LEAST_LIMIT", 64)
    return lambda count: monkeypatch.setattr(shares, "choose_programs", lambda *args, **kwargs: (count, 0))
