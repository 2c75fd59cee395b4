"""What Triton compiled for a call: configuration, registers, spills, shared memory, PTX and SASS."""

from __future__ import annotations

import contextlib
import gc
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lbench.profiling.allocations import short_path

FILE = "kernels.json"
KEPT = ("ptx", "ttgir")
MOST_KERNELS = 40
"""Where the hook was passed by, all that autotuning tried is there."""


def keep(work: Any, folder: Path, with_code: bool = True) -> None:
    """Calls a workload once and keeps what Triton launched; LookupError where it launched nothing.

    `with_code`: the code of the kernels as well, not their figures alone.
    """
    handles: set[Any] = set()
    with _listening(handles):
        work.call()
    known = [kernel for kernel in _alive() if getattr(kernel, "module", None) is not None]
    # A launcher of its own may pass the hook by: then every kernel that was loaded is told.
    launched = [kernel for kernel in known if kernel.function in handles] or known
    if not launched:
        raise LookupError("the call launched no Triton kernel")
    folder.mkdir(parents=True, exist_ok=True)
    told = []
    for number, kernel in enumerate(launched[:MOST_KERNELS]):
        name = f"{number:02d}-{re.sub(r'[^0-9A-Za-z_.-]', '_', kernel.name)[:60]}"
        told.append(describe(kernel) | {"code": _keep_code(kernel, folder, name) if with_code else {}})
    (folder / FILE).write_text(json.dumps({"seen_launched": bool(handles), "kernels": told}, indent=1))


def describe(kernel: Any) -> dict[str, Any]:
    """Figures of a compiled kernel; those that this Triton does not tell are None."""
    metadata = kernel.metadata
    return {
        "name": kernel.name,
        "constants": _constants(kernel),
        **{
            name: getattr(metadata, name, None) for name in ("num_warps", "num_stages", "num_ctas", "maxnreg")
        },
        "shared_bytes": getattr(metadata, "shared", None),
        "registers": getattr(kernel, "n_regs", None),
        "spills": getattr(kernel, "n_spills", None),
        "tf32": ".tf32" in str(kernel.asm.get("ptx", "")),
        "target": str(getattr(getattr(metadata, "target", None), "arch", "")),
    }


def _constants(kernel: Any) -> dict[str, Any]:
    """Compile-time arguments by name, the sizes it was tuned over among them."""
    source = kernel.src
    names = getattr(getattr(source, "fn", None), "arg_names", None) or []
    found = {}
    for place, value in (getattr(source, "constants", None) or {}).items():
        index = place[0] if isinstance(place, tuple) else place
        name = names[index] if isinstance(index, int) and index < len(names) else str(index)
        if isinstance(value, (bool, int, float, str)):
            found[name] = value
    return found


def _keep_code(kernel: Any, folder: Path, name: str) -> dict[str, str]:
    """Writes the code of a kernel; kind -> file, or why there is none."""
    kept = {}
    for kind in (*KEPT, "sass"):
        try:
            text = kernel.asm[kind]
            (folder / f"{name}.{kind}").write_text(impersonal(text), encoding="utf-8")
            kept[kind] = f"{name}.{kind}"
        except KeyError:
            kept[f"no {kind}"] = "not in Triton's cache; an empty TRITON_CACHE_DIR compiles it anew"
        except Exception as error:  # no disassembler, or a Triton that names things otherwise
            kept[f"no {kind}"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
    return kept


def impersonal(text: str) -> str:
    """Code without the folders of its source files, and without the debug sections that hold them too."""
    text = text.partition("\t.section\t.debug")[0]
    return re.sub(r'"(/[^"\n]*)"', lambda found: f'"{short_path(found[1])}"', text)


def _alive() -> list[Any]:
    """Compiled kernels of this process: the worker froze the older ones, so they are thawed to be seen."""
    gc.unfreeze()
    return [one for one in gc.get_objects() if type(one).__name__ == "CompiledKernel"]


@contextlib.contextmanager
def _listening(handles: set[Any]) -> Iterator[None]:
    """Collects the handles of the kernels that Triton launches."""

    def heard(metadata: Any) -> None:
        # `get` would let kernels compute what they tell of themselves, which may fail.
        told = getattr(metadata, "data", None)
        handles.add((told if isinstance(told, dict) else metadata.get()).get("function"))

    hooks: Any = None
    with contextlib.suppress(ImportError, AttributeError):
        from triton import knobs

        hooks = knobs.runtime.launch_enter_hook
    if not hasattr(hooks, "add") or not hasattr(hooks, "remove"):
        yield
        return
    hooks.add(heard)
    try:
        yield
    finally:
        hooks.remove(heard)
