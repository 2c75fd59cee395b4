"""The options of what to measure and where to keep it, shared by the commands that measure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lbench.case import MODEL_SETTINGS
from lbench.cli import complete
from lbench.cli.lists import split_names
from lbench.errors import UsageError
from lbench.lengths import parse_length

if TYPE_CHECKING:
    from lbench.case import Case
    from lbench.device import Device
    from lbench.suite import Suite


def _axis(flags: str, help_text: str, names: Callable[[str], list[str]] | None = None) -> Any:
    panel = "Axes of the sweep"
    return typer.Option(
        flags, help=help_text, rich_help_panel=panel, show_default=False, autocompletion=names
    )


SuiteName = Annotated[
    str | None,
    typer.Argument(
        help="A suite's name or TOML file; by default a quick one for the device.",
        autocompletion=complete.suites,
    ),
]
Seq = Annotated[str | None, _axis("--seq", "Lengths: 1k..256k, 1k..256k:x4, 4k..64k:+4k, 1k,3k,10k.")]
BackendNames = Annotated[
    str | None, _axis("--backend", "Backends, or path.py:function of your own.", complete.backends)
]
MechanismNames = Annotated[
    str | None, _axis("--mechanism", "All backends of these mechanisms.", complete.mechanisms)
]
PassNames = Annotated[
    str | None,
    _axis("--pass", "fwd, bwd, fwdbwd, decode; of models train, prefill, decode.", complete.passes),
]
Batch = Annotated[str | None, _axis("--batch", "Sequences a call.")]
Tokens = Annotated[str | None, _axis("--tokens", "Tokens a call: batch = tokens / length.")]
Heads = Annotated[str | None, _axis("--heads", "Heads.")]
KvHeads = Annotated[str | None, _axis("--kv-heads", "Heads of k and v, where fewer.")]
HeadDim = Annotated[str | None, _axis("--head-dim", "Dimension of q and k.")]
HeadDimV = Annotated[str | None, _axis("--head-dim-v", "Dimension of v, where another.")]
Decay = Annotated[str | None, _axis("--decay", "alibi, zero, deep, steep.")]
InputKinds = Annotated[str | None, _axis("--inputs", "model, outlier, mean.")]
Dtype = Annotated[str | None, _axis("--dtype", "bf16, fp16, fp32.", complete.dtypes)]
ModelNames = Annotated[
    str | None,
    _axis(
        "--model",
        "Models (`lbench list models`), or path/to/config.json; in place of a shape.",
        complete.models,
    ),
]
Body = Annotated[str | None, _axis("--body", "Block of a model: native, or common with any mixer.")]
Attention = Annotated[str | None, _axis("--attention", "Backend of a hybrid's softmax layers.")]
Checkpoint = Annotated[str | None, _axis("--checkpoint", "Training computes again: none, selective, block.")]
Chunk = Annotated[str | None, _axis("--chunk", "Tokens that all but the mixers work on at once.")]
PrefillChunk = Annotated[str | None, _axis("--prefill-chunk", "Tokens of a prompt at once.")]
Compile = Annotated[str | None, _axis("--compile", "torch.compile around the mixer: off, on.")]
DeviceName = Annotated[
    str | None,
    typer.Option("--device", help="cpu, cuda, cuda:N or replay:FOLDER; by default a GPU if there is one."),
]


def _finite(parameter: typer.CallbackParam, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise UsageError(f"{parameter.opts[0]} {value:g}; it is a finite number of seconds")
    return value


CellTimeout = Annotated[
    float | None, typer.Option(help="Seconds one case may take.", min=1, callback=_finite)
]
CaseBudget = Annotated[
    float | None, typer.Option(help="Seconds of sampling a case.", min=0.01, callback=_finite)
]
Out = Annotated[Path | None, typer.Option(help="Result folder; by default a new one in runs/.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on in the folder --out.")]
OtherEnvironment = Annotated[
    bool, typer.Option("--other-environment", help="Resume rows of another machine or software.")
]
InProcess = Annotated[
    bool,
    typer.Option("--in-process", help="Measure in this very process, for a debugger; stops at a crash."),
]
OnlyBackends = Annotated[
    str | None,
    typer.Option("--backend", help="Only these backends: a,b.", autocompletion=complete.backends),
]
OnlyPasses = Annotated[
    str | None,
    typer.Option("--pass", help="Only these passes: fwd,bwd.", autocompletion=complete.passes),
]
OnlyModels = Annotated[
    str | None,
    typer.Option(
        "--model", help="Only these models, or path/to/config.json: a,b.", autocompletion=complete.models
    ),
]

AXES = ("seq", "backend", "mechanism", "pass", "batch", "tokens", "heads", "kv_heads", "head_dim",
        "head_dim_v", "decay", "inputs", "dtype", "model", *MODEL_SETTINGS)  # fmt: skip

NUMBERS = {"batch", "tokens", "heads", "kv_heads", "head_dim", "head_dim_v", "chunk", "prefill_chunk"}

PARAMETERS = {"pass": "pass_names", "compile": "compile_blocks"}
"""Axes whose parameter is called otherwise, as Python has their names."""


def given(parameters: dict[str, Any]) -> dict[str, Any]:
    """The axes among a command's parameters (`pass_names` for `pass`), as a suite takes them."""
    values = {name: parameters.get(PARAMETERS.get(name, name)) for name in AXES}
    # Lengths have a grammar of their own and stay one text.
    found = {
        name: [value] if name == "seq" else list(split_names(value, _option(name)))
        for name, value in values.items()
        if value is not None
    }
    for name in found.keys() & NUMBERS:
        for text in found[name]:
            parse_length(text, f"--{_option(name)}")
    return found


def _option(axis: str) -> str:
    return axis.replace("_", "-")


def check(suite: str | None, axes: dict[str, Any], device: str | None) -> None:
    """Finds what is wrong with the axes before a worker is started to look at the device."""
    asked = (device or "").partition(":")[0]
    for kind in (asked,) if asked in ("cpu", "cuda") else ("cpu", "cuda"):
        chosen(suite, axes, kind).cases(kind)


def check_device(case: Case, device: Device) -> None:
    """UsageError where a case named by its key is one of another device; a replay answers for any."""
    from lbench.replay import is_replay

    if case.device != device.kind and not is_replay(device.device):
        raise UsageError(
            f"case {case.key} is one of {case.device}, the device is {device.device}; "
            f"a case of this device has {device.kind} in its key"
        )


def chosen(suite: str | None, axes: dict[str, Any], kind: str) -> Suite:
    """The suite with its axes replaced.

    Of a named suite of models, --model takes the part it asks for, and of that part the other flags the
    values that it has.
    """
    from lbench import suite as suites

    base = suites.load(suite or default_suite(axes, kind))
    part = base.part("model", axes["model"]) if suite and "model" in axes else None
    if part is None:
        return base.override(axes)
    left = {name: value for name, value in axes.items() if name != "model"}
    for axis in list(left):
        if narrowed := part.part(axis, left[axis]):
            part = narrowed
            del left[axis]
    fitting = _by_mixer(part, left.get("backend", []))
    if fitting is not None:
        part, left = fitting, {name: value for name, value in left.items() if name != "backend"}
    return part.override(left)


def _by_mixer(part: Suite, named: list[str]) -> Suite | None:
    """The sweeps of models, each with those of the named backends that compute its mixers.

    None where one of them finds no sweep: the suite itself then says why.
    """
    from lbench import backends, models

    if not named or "all" in named:
        return None
    mechanisms = {name: backends.load(name).mechanism for name in named}
    sweeps = []
    for sweep in part.sweeps:
        own = {models.load(name).mechanism for name in sweep["model"]}
        fitting = [name for name in named if mechanisms[name] in own]
        rest = {axis: value for axis, value in sweep.items() if axis != "mechanism"}
        sweeps += [{**rest, "backend": fitting}] if fitting else []
    found = {name for sweep in sweeps for name in sweep["backend"]}
    return dataclasses.replace(part, sweeps=tuple(sweeps)) if found == {*named} else None


def default_suite(axes: dict[str, Any], kind: str) -> str:
    """The suite of a command that names none: a quick one for the device, and for models one of its own."""
    return f"quick-models-{kind}" if "model" in axes else f"quick-{kind}"
