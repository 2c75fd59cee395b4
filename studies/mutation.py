"""A mutant: one textual change of the lightning kernels, and the copy of the kernels that has it."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KERNELS = ROOT / "kernels" / "lightning_attention"
FUNCTION = '''"""{what}"""
import mutant_calls
from {package} import lightning_attention, lightning_attention_step
from {package}.paths import force_path
{setup}

def attention(q, k, v, slopes, state=None):
    scale = {scale}
    if state is None:
        with force_path("{path}"):
            return mutant_calls.{call}(lightning_attention, q, k, v, slopes, scale)
    token = (tensor.squeeze(1) for tensor in (q, k, v))
    o, new_state = lightning_attention_step(*token, slopes, state, scale=scale)
    return o.unsqueeze(1), new_state
'''


class Mismatch(Exception):
    """A pattern that is not found exactly once: the kernels have changed since the mutant was written."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Where mutants are run."""

    name: str
    what: str
    flags: Sequence[str]
    mechanism: str = "lightning"
    setup: Sequence[str] = ()
    """Lines of Python that are run on the imported copy, `{package}`."""
    call: str = "whole"
    """The function of mutant_calls.py that calls the kernels."""
    path: str = "plain"
    """Of kernels/lightning_attention/paths.py; `hopper` needs a GPU of compute capability 9.0."""
    device: str = ""
    """`cuda` where a CPU will not do."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change of one file; the unchanged kernels have no file."""

    name: str
    what: str
    profile: str
    file: str = ""
    pattern: str = ""
    to: str = ""
    may_break: bool = False
    """Whether a hang or an error of the GPU is what its fault may look like, and so counts as found."""
    survives: str = ""
    """Why it may survive, where it may: results stay within the budget, or do not change at all."""


def load() -> tuple[dict[str, Profile], list[Mutant]]:
    """Profiles and mutants of studies/mutants.toml."""
    content = tomllib.loads((ROOT / "studies" / "mutants.toml").read_text())
    profiles = {name: Profile(name=name, **fields) for name, fields in content["profile"].items()}
    return profiles, [Mutant(**fields) for fields in content["mutant"]]


def mismatch(mutant: Mutant) -> str:
    """Why a mutant cannot be made; empty where it can."""
    path = KERNELS / mutant.file
    if not path.is_file():
        return f"{mutant.name}: there is no file {mutant.file} in {KERNELS.relative_to(ROOT)}"
    count = path.read_text().count(mutant.pattern)
    return "" if count == 1 else f"{mutant.name}: {mutant.file} has its pattern {count} times, it must once"


def make(mutant: Mutant, profile: Profile, folder: Path, kernels: Path = KERNELS) -> Path:
    """A copy of the kernels with the mutant's change, and the file whose function `attention` calls it."""
    package = f"lightning_attention_{mutant.name}"
    copy = folder / package
    shutil.copytree(kernels, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.glob("*.py"):  # operators of a namespace of its own: copies share a process
        text = path.read_text().replace("torch.ops.lightning_attention.", f"torch.ops.{package}.")
        path.write_text(text.replace('NAMESPACE = "lightning_attention"', f'NAMESPACE = "{package}"'))
    if mutant.file:
        path = copy / mutant.file
        text = path.read_text()
        if text.count(mutant.pattern) != 1:
            raise Mismatch(mismatch(mutant))
        path.write_text(text.replace(mutant.pattern, mutant.to))
    function = folder / f"{mutant.name}.py"
    scale = "q.shape[-1] ** -0.5" if profile.mechanism == "retention" else "1.0"
    setup = "\n".join(line.format(package=package) for line in profile.setup)
    fields = {"path": profile.path, "call": profile.call}
    function.write_text(
        FUNCTION.format(what=mutant.what, package=package, setup=setup, scale=scale, **fields)
    )
    return function
