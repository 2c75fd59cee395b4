"""Mutants of the shipping lightning kernels: does `lbench verify` find every one of them?

    python studies/mutants.py [--device cpu|cuda] [--only NAME ... | --rest] [--jobs N] [--out FOLDER]

Copies kernels/lightning_attention once a mutant, applies one textual change from studies/mutants.toml, and
has `lbench verify` judge the copy as a user's function, beside an unchanged copy that must be right. On a CPU
the kernels run in Triton's interpreter, and mutants that need a GPU are left out (and listed); `--rest`
judges these alone. Writes mutants.md and mutants.json, anew after every profile. Exit code 1 where a mutant
survives that should not, or cannot be judged; 2 where a pattern does not match.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mutant_report import Finding, kernels_id, summary, write
from mutation import KERNELS, ROOT, Mutant, Profile, load, make, mismatch

SMALL = 0.01
"""A change of the worst tensor below this relative RMS is small."""
BROKEN = {"timeout", "failed", "crashed"}
"""What a mutant may end in whose fault may be a hang or an error of the GPU."""
CELL_TIMEOUT_S = {"cpu": 600, "cuda": 60}
"""A case takes up to a minute in the interpreter, seconds on a GPU."""


def main() -> int:
    """Runs the study; the exit code."""
    parser = argparse.ArgumentParser(description="Mutants of the lightning kernels against `lbench verify`.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--rest", action="store_true", help="only mutants that need a GPU")
    parser.add_argument("--jobs", type=int, default=1, help="profiles at once; 1 on a GPU")
    parser.add_argument("--out", type=Path, default=None, help="default: results/mutants-DEVICE")
    arguments = parser.parse_args()
    profiles, mutants = load()
    if arguments.only:
        mutants = [mutant for mutant in mutants if mutant.name in arguments.only]
    if arguments.rest:
        mutants = [mutant for mutant in mutants if profiles[mutant.profile].device]
    problems = [problem for mutant in mutants if (problem := mismatch(mutant))]
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 2
    out = arguments.out or ROOT / "results" / f"mutants-{arguments.device}"
    with tempfile.TemporaryDirectory() as folder:
        kernels = Path(folder) / "unchanged"  # of one moment, though somebody may edit them meanwhile
        shutil.copytree(KERNELS, kernels, ignore=shutil.ignore_patterns("__pycache__"))
        identity = kernels_id(kernels)

        def keep(findings: list[Finding]) -> None:
            write(findings, profiles, arguments.device, identity, out)

        findings = study(profiles, mutants, arguments.device, kernels, arguments.jobs, keep)
    print(summary(findings))
    return 0 if all(finding.as_it_should for finding in findings) else 1


def study(
    profiles: dict[str, Profile],
    mutants: list[Mutant],
    device: str,
    kernels: Path,
    jobs: int = 1,
    keep: Callable[[list[Finding]], None] = lambda _: None,
) -> list[Finding]:
    """Judges all mutants of a copy of the kernels; writes beside that copy, and has all kept a profile."""

    def judge_all(profile: Profile) -> dict[str, Finding]:
        its = [mutant for mutant in mutants if mutant.profile == profile.name]
        if profile.device not in ("", device):
            card = " of compute capability 9.0" if profile.path == "hopper" else ""
            return {
                mutant.name: unjudged(mutant, "not run", f"needs {profile.device}{card}") for mutant in its
            }
        if not its:
            return {}
        found = judge_profile(profile, its, device, kernels)
        print(f"{profile.name}: {summary(list(found.values()))}", file=sys.stderr, flush=True)
        return found

    findings = {mutant.name: unjudged(mutant, "not judged", "not reached") for mutant in mutants}
    with ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(judge_all, profiles.values()):
            findings |= found
            if found:
                keep(list(findings.values()))
    return list(findings.values())


def judge_profile(profile: Profile, mutants: list[Mutant], device: str, kernels: Path) -> dict[str, Finding]:
    """The findings of one profile's mutants; none is judged where the unchanged kernels are not right."""
    control = Mutant(name=f"unchanged_{profile.name}", what="the kernels as they are", profile=profile.name)
    folder = kernels.parent
    files = {mutant.name: make(mutant, profile, folder, kernels) for mutant in (control, *mutants)}
    rows = verify(list(files.values()), profile, device, folder / f"rows_{profile.name}")
    control_rows = rows.get(control.name, [])
    if not control_rows or any(row.verdict != "ok" for row in control_rows):
        told = "; ".join(f"{row.verdict}: {row.reason}" for row in control_rows) or "no row"
        reason = f"the unchanged kernels are not right: {told}"
        return {mutant.name: unjudged(mutant, "not judged", reason) for mutant in mutants}
    changes = changes_of(files, control_rows[0].case.as_dict(), device)
    return {
        mutant.name: judge(mutant, rows.get(mutant.name, []), changes.get(mutant.name)) for mutant in mutants
    }


def verify(files: list[Path], profile: Profile, device: str, out: Path) -> dict[str, list[Any]]:
    """Rows of `lbench verify` by mutant."""
    from lbench import results

    backends = ",".join(f"{path}:attention" for path in files)
    command = [sys.executable, "-m", "lbench", "verify", "--backend", backends]
    command += ["--mechanism", profile.mechanism, "--device", device, "--out", str(out), *profile.flags]
    command += ["--cell-timeout", str(CELL_TIMEOUT_S[device])]
    ended = subprocess.run(command, env=environment(device), capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1, 3):
        raise SystemExit(f"lbench verify ended with {ended.returncode}: {ended.stderr.strip()}")
    rows: dict[str, list[Any]] = {}
    for row in results.read(out).rows.values():
        rows.setdefault(Path(row.case.backend.partition(":")[0]).stem, []).append(row)
    return rows


def environment(device: str) -> dict[str, str]:
    """For a CPU the kernels are interpreted."""
    folders = (ROOT, ROOT / "kernels", ROOT / "studies")
    interpreted = {"TRITON_INTERPRET": "1"} if device == "cpu" else {}
    return {**os.environ, **interpreted, "PYTHONPATH": os.pathsep.join(map(str, folders))}


def judge(mutant: Mutant, rows: list[Any], changes: dict[str, Any] | None) -> Finding:
    """Found where a case of it is wrong; one that broke was not judged by its result, unless it may break."""
    verdicts = {row.verdict for row in rows}
    reason = next((f"{row.verdict}: {row.reason}" for row in rows if row.verdict != "ok"), "")
    told = "wrong" in verdicts or (mutant.may_break and verdicts & BROKEN)
    outcome = "found" if told else "survived" if verdicts == {"ok"} else "not judged"
    rms = changes["rms"] if changes else None
    one_block = bool(changes) and changes["places"] == 1
    return Finding(
        name=mutant.name,
        what=mutant.what,
        profile=mutant.profile,
        outcome=outcome,
        reason=mutant.survives if outcome == "survived" else reason.removeprefix("wrong: "),
        rms=rms,
        blocks=f"{changes['changed']} of {changes['all']}" if changes else "",
        small=one_block or (rms is not None and rms < SMALL),
        as_it_should=outcome == "found" or (outcome == "survived" and mutant.survives != ""),
    )


def unjudged(mutant: Mutant, outcome: str, reason: str) -> Finding:
    """A mutant that needs another device, or whose profile says nothing."""
    return Finding(
        name=mutant.name,
        what=mutant.what,
        profile=mutant.profile,
        outcome=outcome,
        reason=reason,
        rms=None,
        blocks="",
        small=False,
        as_it_should=outcome == "not run",
    )


def changes_of(files: dict[str, Path], fields: dict[str, Any], device: str) -> dict[str, dict[str, Any]]:
    """How each mutant's results differ from those of the first file, found in a process of its own."""
    if device == "cuda":
        return {}
    cases = json.dumps([{**fields, "backend": f"{path}:attention"} for path in files.values()])
    command = [sys.executable, str(ROOT / "studies" / "mutant_change.py"), cases]
    ended = subprocess.run(command, env=environment(device), capture_output=True, text=True, check=False)
    if ended.returncode:
        print(f"no changes: {ended.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return {}
    return dict(zip(list(files)[1:], json.loads(ended.stdout), strict=True))


if __name__ == "__main__":
    sys.exit(main())
