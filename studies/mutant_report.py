"""What became of the mutants, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

from mutation import Profile


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of a mutant."""

    name: str
    what: str
    profile: str
    outcome: str
    """found | survived | not run | not judged."""
    reason: str
    rms: float | None
    """Relative RMS change of the tensor that changed most, against the unchanged kernels."""
    blocks: str
    """Blocks of 64 tokens of one head and sequence that changed, of all, over all tensors."""
    small: bool
    """The change is under 1 % RMS, or within the same 64 tokens of every head."""
    as_it_should: bool
    """Found, or one that may survive, or not run for want of a GPU."""


def write(
    findings: list[Finding], profiles: dict[str, Profile], device: str, kernels: str, out: Path
) -> None:
    """mutants.json and mutants.md in a folder; `kernels` is their `kernels_id`."""
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "device": device,
        "kernels": kernels,
        "profiles": {name: dataclasses.asdict(profile) for name, profile in profiles.items()},
        "mutants": [dataclasses.asdict(finding) for finding in findings],
    }
    (out / "mutants.json").write_text(json.dumps(content, indent=1) + "\n")
    lines = [
        "# Mutants of the lightning kernels",
        "",
        f"Made by `python studies/mutants.py --device {device}` for kernels `{kernels}`. "
        + summary(findings),
        "",
        "The change is that of the worst tensor (output or a gradient) against the unchanged kernels, in the "
        "first call or a later one, whichever is more, with unwritten memory counted as zero; blocks are "
        "those of 64 tokens of one head, over all tensors.",
        "",
        "| mutant | fault | where | change (RMS) | blocks changed | outcome | told by `lbench verify` |",
        "|---|---|---|---:|---:|---|---|",
    ]
    for finding in findings:
        cells = (
            *(f"`{finding.name}`", finding.what, finding.profile),
            "" if finding.rms is None else _percent(finding.rms) + ("" if not finding.small else " (small)"),
            *(finding.blocks, f"**{finding.outcome}**" if finding.outcome != "found" else "found"),
            finding.reason.replace("|", "\\|"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Profiles:", ""]
    lines += [f"- `{one.name}`: {one.what} (`{' '.join(one.flags)}`)" for one in profiles.values()]
    (out / "mutants.md").write_text("\n".join(lines) + "\n")


def _percent(rms: float) -> str:
    return (
        "unbounded"
        if math.isinf(rms)
        else f"{rms:.2g}"
        if rms >= 1
        else f"{rms:.2%}"
        if rms >= 1e-3
        else f"{rms:.1e}"
    )


def kernels_id(kernels: Path) -> str:
    """A short id of the content of a folder of kernels."""
    hashed = hashlib.sha256()
    for path in sorted(kernels.glob("*.py")):
        hashed.update(path.name.encode() + path.read_bytes())
    return hashed.hexdigest()[:12]


def summary(findings: list[Finding]) -> str:
    """How many were found, and who was not."""
    run = [finding for finding in findings if finding.outcome != "not run"]
    found = [finding for finding in run if finding.outcome == "found"]
    small = [finding for finding in found if finding.small]
    parts = [
        f"{len(found)} of {len(run)} mutants found, {len(small)} of them small "
        "(under 1 % RMS, or in one block of tokens)"
    ]
    for outcome in ("survived", "not judged", "not run"):
        if names := [finding.name for finding in findings if finding.outcome == outcome]:
            parts.append(f"{outcome}: {', '.join(names)}")
    return "; ".join(parts) + "."
