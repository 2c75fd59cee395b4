"""How far results of mutants are from those of the unchanged kernels; a process of its own, given cases."""

from __future__ import annotations

import json
import sys
from typing import Any


def changes(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For every case but the first, which differ in their backend alone: its change against the first.

    Of a first call and a later one, which the kernels prepare, the one that changed more.
    """
    import torch

    torch.set_num_threads(1)
    before = _outputs(cases[0])
    made = []
    for fields in cases[1:]:
        calls = zip(before, _outputs(fields), strict=True)
        made.append(max((_change(right, other) for right, other in calls), key=lambda change: change["rms"]))
    return made


def _outputs(fields: dict[str, Any]) -> list[dict[str, Any]]:
    from lbench import workload
    from lbench.attest import call_again
    from lbench.case import Case

    work = workload.build(Case.from_dict(fields), "cpu")
    return [
        {name: tensor.detach().double() for name, tensor in call_again(work, {}, "cpu").outputs.items()}
        for _ in range(2)
    ]


def _change(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The largest relative RMS change of any tensor, and the blocks of 64 tokens that changed over 1e-6."""
    import torch

    worst, changed, total, places = 0.0, 0, 0, 0
    for name, right in before.items():
        # Unwritten memory counts as zero: NaN, or numbers that no fault of arithmetic gives.
        other = torch.nan_to_num(after[name], nan=0.0, posinf=0.0, neginf=0.0)
        other = torch.where(other.abs() > 1e6 * right.abs().max(), 0.0, other)
        difference = other - right
        worst = max(worst, float(difference.square().mean().sqrt() / right.square().mean().sqrt()))
        differs = _pieces(difference) / _pieces(right).clamp(min=1e-30) > 1e-6
        changed, total = changed + int(differs.sum()), total + differs.numel()
        places = max(places, int(differs.flatten(1).any(1).sum()))
    return {"rms": worst, "changed": changed, "all": total, "places": places}


def _pieces(tensor: Any) -> Any:
    """RMS of every block of 64 tokens of one head and sequence of [B, T, H, X]: [blocks, B, H].

    A state or a single token has no blocks: its heads count as so many places.
    """
    import torch

    if tensor.shape[1] < 64:
        return tensor.square().flatten(2).mean(2).sqrt().flatten()[:, None]
    parts = [part.square().mean((1, 3)).sqrt() for part in tensor.split(64, 1)]
    return torch.stack(parts)


if __name__ == "__main__":
    print(json.dumps(changes(json.loads(sys.argv[1]))))
