"""A backend from a function of one's own: `path/to/mine.py:function`, no registration needed.

The function is called with the tensors and constants of its mechanism by name, canonical `[B, T, H, D]`,
for lightning `function(q=q, k=k, v=v, slopes=slopes)`, and returns the output `[B, T, H, E]`, differentiable
where a pass takes gradients. A decoding step gives it one token and the state or cache, by name too, and
wants `(o, new state)`, or `o` for a cache. It may leave the constants out: `function(q, k, v)`. Files beside
it can be imported.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbench import mechanisms
from lbench.backends.spec import Backend, Forward, Limits, Unsupported
from lbench.case import DEVICES, DTYPES, PASSES, Case
from lbench.errors import UsageError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from lbench.mechanisms.spec import Mechanism


def from_function(name: str, mechanism: str) -> Backend:
    """The backend `path.py:function`. The file is parsed here and run only when a case is built.

    Raises UsageError where the mechanism is not named, the file is not there or is no Python, or the function
    is not in it.
    """
    from lbench.backends import user_path

    path, function = user_path(name), name.rpartition(":")[2]
    if not mechanism:
        known = ", ".join(mechanisms.names())
        raise UsageError(f"backend {name!r} needs --mechanism, what it computes: one of {known}")
    spec = mechanisms.load(mechanism)
    _check_file(path)
    defined = _defined_names(path)
    if not defined:
        raise UsageError(f"{path} defines no function")
    if function not in defined:
        raise unknown(f"function in {path}:", function, defined)
    return Backend(
        mechanism=mechanism,
        title=f"{path.name}:{function}",
        build=lambda case, constants: _build(path, function, spec, case, constants),
        limits=Limits(passes=PASSES, dtypes=DTYPES, devices=DEVICES, grouped_heads=True),
        name=name,
    )


def functions_of(path: Path) -> list[str]:
    """Public functions that a file defines, in their order. UsageError where there is no such file."""
    _check_file(path)
    _defined_names(path)
    tree = ast.parse(path.read_bytes())
    found = [statement.name for statement in tree.body if isinstance(statement, ast.FunctionDef)]
    return [name for name in found if not name.startswith("_")]


def _check_file(path: Path) -> None:
    if path.is_file():
        return
    beside = [file.name for file in path.parent.glob("*.py")]
    if not beside:
        raise UsageError(f"backend file {path} does not exist; there is no Python file in {path.parent}")
    raise unknown(f"file in {path.parent}:", path.name, beside)


def _defined_names(path: Path) -> set[str]:
    """Names that the file defines, assigns or imports at its top level."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = f" line {error.lineno}:" if isinstance(error, SyntaxError) else ""
        raise UsageError(f"{path}:{line} is no Python that can be read: {error.args[0]}") from error
    return {name for statement in tree.body for name in _names_of(statement)}


def _names_of(statement: ast.stmt) -> Iterable[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in statement.names)
    else:
        # assignments, and definitions under `if` and `try`
        for node in ast.walk(statement):
            if isinstance(node, ast.FunctionDef):
                yield node.name
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _build(
    path: Path, name: str, mechanism: Mechanism, case: Case, constants: Mapping[str, Tensor]
) -> Forward:
    function = getattr(_run_file(path), name)
    if not callable(function):
        raise TypeError(f"{path}:{name} is a {type(function).__name__}, not a function")
    decode = case.pass_name == "decode"
    tensors = tuple(mechanism.decode_tensors if decode else mechanism.tensors)
    try:
        fixed = _constants_taken(function, mechanism.name, tensors, constants, f"{path}:{name}")
    except TypeError as error:
        if decode:
            raise Unsupported(f"pass decode: {error}") from error
        raise

    def forward(**tensors: Tensor) -> Any:
        return function(**tensors, **fixed)

    return forward


def _run_file(path: Path) -> Any:
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.append(folder)
    # A name of its own: mine.py may be called like an installed package.
    name = f"lbench_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _constants_taken(
    function: Callable[..., Any],
    mechanism: str,
    tensors: tuple[str, ...],
    constants: Mapping[str, Tensor],
    name: str,
) -> dict[str, Tensor]:
    """The constants that the function takes. TypeError where it cannot be called by the mechanism's names."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # built in C: it says itself what it takes
        return dict(constants)
    for taken in (dict(constants), {}):
        try:
            signature.bind(**dict.fromkeys((*tensors, *taken)))
        except TypeError:
            continue
        return taken
    wanted = ", ".join((*tensors, *constants))
    raise TypeError(f"{name} takes {signature}; {mechanism} calls it with {wanted}, each by its name")
