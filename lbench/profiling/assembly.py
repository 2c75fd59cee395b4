"""Facts of PTX and SASS: which instructions a compiled kernel has, by what they are known for."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lbench.profiling.compiled import FILE

PTX = {
    "wgmma": r"wgmma\.mma_async",
    "mma.sync": r"(?<!wg)mma\.sync",
    "TMA load": r"cp\.async\.bulk\.(tensor|shared)",
    "TMA store": r"cp\.async\.bulk\.(tensor\.\w+\.global|global)",
    "cp.async 16 B": r"cp\.async\.c[ag]\.shared\S*\s[^;]*,\s*(16|0x10)\b",
    "load 16 B": r"ld\.(global|param::global)\S*\.(v4\.[bfsu]32|v2\.[bfsu]64|v8\.[bfsu]16)",
    "store 16 B": r"st\.global\S*\.(v4\.[bfsu]32|v2\.[bfsu]64|v8\.[bfsu]16)",
    "atomic": r"\b(atom|red)\.(global|relaxed|\w+\.global)",
    "TF32": r"\.tf32\b",
    "setmaxnreg": r"setmaxnreg",
}
"""What -> how a line of PTX with it looks."""
SASS = {
    "wgmma": r"\b[HIQ]GMMA\b",
    "mma.sync": r"\b[HID]MMA\b",
    "TMA load": r"\bUTMALDG\b|\bUBLKCP\b",
    "TMA store": r"\bUTMASTG\b",
    "cp.async 16 B": r"\bLDGSTS\S*\.128\b",
    "load 16 B": r"\bLDG\S*\.128\b",
    "store 16 B": r"\bSTG\S*\.128\b",
    "atomic": r"\b(ATOMG?|REDG?)\b",
    "TF32": r"\.TF32\b",
    "local load (spill)": r"\bLDL\b",
    "local store (spill)": r"\bSTL\b",
}
WIDTH = re.compile(
    r"wgmma\.mma_async\.sync\.aligned\.(m\d+n\d+k\d+)\.(\w+)\.(\w+)\.(\w+)|mma\.sync\S*?\.(m\d+n\d+k\d+)"
)


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """One Triton kernel as it was compiled."""

    name: str
    configuration: Mapping[str, Any]
    registers: int | None
    spills: int | None
    shared_bytes: int | None
    instructions: Mapping[str, int] = field(default_factory=dict)
    """What -> how often it stands in the SASS, or in the PTX where there is no SASS."""
    source: str = ""
    """sass | ptx; empty where no code was kept."""
    shapes: tuple[str, ...] = ()
    """Of matrix products in the PTX, the most frequent first."""
    tf32: bool = False
    """Whether its products round to TF32."""
    problems: tuple[str, ...] = ()

    def has(self, what: str) -> bool | None:
        """Whether an instruction was seen; None where no code was kept."""
        return None if not self.source else self.instructions.get(what, 0) > 0


def read(folder: Path) -> list[Compiled]:
    """The kernels that `compiled.keep` wrote, identical ones once. ValueError where the file is of no use."""
    try:
        told = json.loads((folder / FILE).read_text(encoding="utf-8"))["kernels"]
        made = [_compiled(entry, folder) for entry in told]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder.name}/{FILE} cannot be read: {type(error).__name__}: {error}") from error
    return list({repr(one): one for one in made}.values())


def of_ptx(text: str) -> dict[str, int]:
    """How many lines of PTX have each kind of instruction."""
    return _counts(text, PTX)


def of_sass(text: str) -> dict[str, int]:
    """How many lines of SASS have each kind of instruction."""
    return _counts(text, SASS)


def _counts(text: str, patterns: Mapping[str, str]) -> dict[str, int]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("//", ".file", ".loc"))]
    return {what: sum(bool(re.search(pattern, line)) for line in lines) for what, pattern in patterns.items()}


def _compiled(entry: Mapping[str, Any], folder: Path) -> Compiled:
    code, problems = entry.get("code") or {}, []
    texts = {}
    for kind in ("ptx", "sass"):
        if kind in code:
            try:
                texts[kind] = (folder / str(code[kind])).read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                problems.append(f"no {kind}: {error}")
        elif f"no {kind}" in code:
            problems.append(f"no {kind}: {code[f'no {kind}']}")
    source = "sass" if texts.get("sass") else "ptx" if texts.get("ptx") else ""
    counts = of_sass(texts["sass"]) if source == "sass" else of_ptx(texts.get("ptx", ""))
    shapes = Counter(" ".join(filter(None, found.groups())) for found in WIDTH.finditer(texts.get("ptx", "")))
    options = {name: entry.get(name) for name in ("num_warps", "num_stages", "num_ctas", "maxnreg")}
    return Compiled(
        name=str(entry["name"]),
        configuration={
            **(entry.get("constants") or {}),
            **{k: v for k, v in options.items() if v is not None},
        },
        registers=entry.get("registers"),
        spills=entry.get("spills"),
        shared_bytes=entry.get("shared_bytes"),
        instructions=counts if source else {},
        source=source,
        shapes=tuple(name for name, _ in shapes.most_common(3)),
        tf32=bool(entry.get("tf32")),
        problems=tuple(problems),
    )
