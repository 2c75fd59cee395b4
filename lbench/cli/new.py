"""`lbench new`: a commented file to start a backend or a suite from."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Annotated

import typer

from lbench.cli import complete
from lbench.errors import UsageError

if TYPE_CHECKING:
    from lbench.mechanisms.spec import Mechanism

app = typer.Typer(
    help="Write a commented file to start from, and say how to test it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(help="Its name, which is the file's too.", show_default=False)]
Folder = Annotated[Path, typer.Option("--folder", help="Where the file goes.")]

DIMS = {
    "b": "batch",
    "t": "time",
    "h": "heads",
    "g": "kv_heads",
    "d": "dim",
    "e": "dim_v",
    "n": "state",
}
QUADRATIC = """\
    time = torch.arange(q.shape[1], device=q.device)
    lag = (time[:, None] - time[None, :]).float()
    mask = torch.where(lag >= 0, {decay}, 0.0)
    scores = torch.einsum("bthd,bshd->bhts", q{scale}, k) * mask.to(q.dtype)
    return torch.einsum("bhts,bshe->bthe", scores, v)"""
DECAY = "torch.exp(-slopes[:, None, None] * lag.clamp(min=0))"
SCALE = " * q.shape[-1] ** -0.5"
BODIES = {
    "lightning": QUADRATIC.format(decay=DECAY, scale=""),
    "linear": QUADRATIC.format(decay="1.0", scale=""),
    "retention": QUADRATIC.format(decay=DECAY, scale=SCALE),
    "softmax": """\
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    o = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return o.transpose(1, 2)""",
}
"""Plain forms that are right, for mechanisms that have one of few lines."""
TO_WRITE = """\
    raise NotImplementedError(f"compute it with torch {torch.__version__} here")"""


@app.command("backend")
def backend_command(
    name: Name,
    mechanism: Annotated[
        str, typer.Option(help="What it computes.", autocompletion=complete.mechanisms)
    ] = "lightning",
    folder: Folder = Path("."),
) -> None:
    """Write NAME.py: a backend that is right and slow, for the kernel or library to take its place."""
    from lbench import backends, mechanisms

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(f"backend name {name!r}; write lower-case letters, digits and _, a letter first")
    if name in backends.names():
        raise UsageError(f"there is a backend {name} already; `lbench list` shows all, choose another name")
    spec = mechanisms.load(mechanism)
    path = _write("backend.py.in", folder / f"{name}.py", _fields(name, spec))
    named = f"--backend {path}:{name} --mechanism {mechanism}"
    print(f"""wrote {path}

Test it as it is, by its function:
  lbench verify {named} --seq 64,100 --heads 2 --head-dim 16 --dtype fp32
  lbench run {named} --seq 1k..4k
To give it its name, either put it into lbench/backends/ of a checkout,
or into a package that declares
  [project.entry-points."lbench.backends"]
  {name} = "your_package.{name}:BACKEND"
and then: lbench verify --backend {name} --seq 1k..16k""")


@app.command("suite")
def suite_command(name: Name, folder: Folder = Path(".")) -> None:
    """Write NAME.toml: a small sweep that runs on a CPU in seconds, every key explained."""
    from lbench import suite

    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise UsageError(f"suite name {name!r}; write lower-case letters, digits, - and _, a letter first")
    if name in suite.names():
        raise UsageError(f"there is a suite {name} already; `lbench list suites` shows all")
    path = _write("suite.toml.in", folder / f"{name}.toml", {"name": name})
    print(f"""wrote {path}

Test it:
  lbench run {path} --dry-run
  lbench run {path}""")


def _fields(name: str, spec: Mechanism) -> dict[str, str]:
    taken = {**spec.tensors, **spec.constants}
    shapes = [f"{one} [{', '.join(DIMS[dim] for dim in dims)}]" for one, dims in taken.items()]
    return {
        "name": name,
        "title": spec.title,
        "formula": spec.formula,
        "mechanism": spec.name,
        "parameters": ", ".join(f"{one}: Tensor" for one in taken),
        "tensors": ", ".join(f"{one}: Tensor" for one in spec.tensors),
        "call": ", ".join([*spec.tensors, *(f'constants["{one}"]' for one in spec.constants)]),
        "shapes": ", ".join(shapes),
        "output": f"[{', '.join(DIMS[dim] for dim in spec.tensors.get('v', 'bthe'))}]",
        "body": BODIES.get(spec.name, TO_WRITE),
    }


def _write(template: str, path: Path, fields: dict[str, str]) -> Path:
    """Fills a template in. UsageError where the file is there already or cannot be written."""
    text = resources.files("lbench.cli").joinpath("starting", template).read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(Template(text).substitute(fields))
    except FileExistsError:
        raise UsageError(f"{path} is there already; choose another name or --folder") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another --folder") from error
    return path
