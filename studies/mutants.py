"""Mutants of the shipping lightning kernels: does `lbench verify` find every one of them?

    python studies/mutants.py [--device cpu|cuda] [--only NAME ...] [--out FOLDER]

Copies kernels/lightning_attention once a mutant, applies one textual change from studies/mutants.toml, and
has `lbench verify` judge the copy as a user's function, beside an unchanged copy that must be right. On a CPU
the kernels run in Triton's interpreter, and mutants that need a GPU are left out (and listed). Writes
mutants.md and mutants.json. Exit code 1 where a mutant survives or cannot be judged; 2 where a pattern does
not match.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mutant_report import Finding, summary, write
from mutation import ROOT, Mutant, Profile, load, make, mismatch

SMALL = 0.01
"""A change of the worst tensor below this relative RMS is small."""


def main() -> int:
    """Runs the study; the exit code."""
    parser = argparse.ArgumentParser(description="Mutants of the lightning kernels against `lbench verify`.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--out", type=Path, default=None, help="default: results/mutants-DEVICE")
    arguments = parser.parse_args()
    profiles, mutants = load()
    if arguments.only:
        mutants = [mutant for mutant in mutants if mutant.name in arguments.only]
    problems = [problem for mutant in mutants if (problem := mismatch(mutant))]
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        findings = study(profiles, mutants, arguments.device, Path(folder))
    out = arguments.out or ROOT / "results" / f"mutants-{arguments.device}"
    write(findings, profiles, arguments.device, out)
    print(summary(findings))
    return 0 if all(finding.outcome in ("found", "not run") for finding in findings) else 1


def study(profiles: dict[str, Profile], mutants: list[Mutant], device: str, folder: Path) -> list[Finding]:
    """Judges all mutants, profile by profile, each beside the unchanged kernels."""
    findings: dict[str, Finding] = {}
    for profile in profiles.values():
        its = [mutant for mutant in mutants if mutant.profile == profile.name]
        if profile.device not in ("", device):
            reason = f"needs {profile.device}"
            findings |= {mutant.name: unjudged(mutant, "not run", reason) for mutant in its}
        elif its:
            found = judge_profile(profile, its, device, folder)
            told = summary(list(found.values()))
            print(f"{profile.name}: {told}", file=sys.stderr, flush=True)
            findings |= found
    return [findings[mutant.name] for mutant in mutants]


def judge_profile(profile: Profile, mutants: list[Mutant], device: str, folder: Path) -> dict[str, Finding]:
    """The findings of one profile's mutants; none is judged where the unchanged kernels are not right."""
    control = Mutant(name=f"unchanged_{profile.name}", what="the kernels as they are", profile=profile.name)
    files = {mutant.name: make(mutant, profile, folder) for mutant in (control, *mutants)}
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
    ended = subprocess.run(command, env=environment(device), capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1, 3):
        raise SystemExit(f"lbench verify ended with {ended.returncode}: {ended.stderr.strip()}")
    rows: dict[str, list[Any]] = {}
    for row in results.read(out).rows.values():
        rows.setdefault(Path(row.case.backend.partition(":")[0]).stem, []).append(row)
    return rows


def environment(device: str) -> dict[str, str]:
    """For a CPU the kernels are interpreted."""
    interpreted = {"TRITON_INTERPRET": "1"} if device == "cpu" else {}
    return {**os.environ, **interpreted, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}"}


def judge(mutant: Mutant, rows: list[Any], changes: dict[str, Any] | None) -> Finding:
    """Found where a case of it is wrong; one that failed or crashed was not judged by its result."""
    verdicts = {row.verdict for row in rows}
    reason = next((f"{row.verdict}: {row.reason}" for row in rows if row.verdict != "ok"), "")
    outcome = "found" if "wrong" in verdicts else "survived" if verdicts == {"ok"} else "not judged"
    rms = changes["rms"] if changes else None
    one_block = bool(changes) and changes["places"] == 1
    return Finding(
        name=mutant.name,
        what=mutant.what,
        profile=mutant.profile,
        outcome=outcome,
        reason=reason.removeprefix("wrong: "),
        rms=rms,
        blocks=f"{changes['changed']} of {changes['all']}" if changes else "",
        small=one_block or (rms is not None and rms < SMALL),
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
