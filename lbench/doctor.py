"""Why something does not run here: every package imported in a child process, with the line that mends it.

Broken builds crash, hang or fail only when they are imported, so each import gets a process and a time limit
of its own. torch stays out of this process.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lbench.packages import PACKAGES, Package

TIME_LIMIT_S = 120.0

CHILD = """
import importlib, importlib.metadata, importlib.util, json, sys
from lbench.packages import is_installed
name, modules, extension, distributions = json.loads(sys.argv[1])
said = {"version": None, "found": is_installed(name), "extension": True}
for distribution in distributions:
    try:
        said["version"] = said["version"] or importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        pass
try:
    if said["found"]:
        if extension:
            import torch
            said["extension"] = importlib.util.find_spec(extension) is not None
            modules = [extension, *modules] if said["extension"] else []
        for module in modules:
            importlib.import_module(module)
        said["version"] = said["version"] or getattr(sys.modules.get(name), "__version__", None)
        if name == "torch":
            import torch
            said["cuda"], said["gpus"] = torch.version.cuda, torch.cuda.device_count()
            said["cudnn"] = torch.backends.cudnn.version() if torch.version.cuda else None
except BaseException as error:
    said["error"], said["message"] = type(error).__name__, str(error)
    said["module"] = getattr(error, "name", None)
print("\\nlbench doctor: " + json.dumps(said), flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is true of one package here."""

    package: str
    status: str
    """ok | not installed | no CUDA extension built | undefined symbol | import error | timed out | crashed"""
    version: str | None = None
    reason: str = ""
    mend: str = ""
    """The line that mends it; empty where nothing is broken."""
    required: bool = False
    facts: dict[str, Any] | None = None
    """For torch: cuda, cudnn and the number of GPUs it sees."""


def examine_all(packages: Sequence[Package] = PACKAGES, time_limit_s: float = TIME_LIMIT_S) -> list[Finding]:
    """All findings in the order of `packages`, as many children at a time as there are cores."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(lambda package: examine(package, time_limit_s), packages))


def examine(package: Package, time_limit_s: float = TIME_LIMIT_S) -> Finding:
    """Imports one package in a child process of its own."""
    asked = (
        package.name,
        package.modules or (package.name,),
        package.extension,
        package.distributions or (package.name,),
    )
    child = subprocess.Popen(
        # -P: files in the working directory do not stand in for packages
        [sys.executable, "-P", "-c", CHILD, json.dumps(asked)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(timeout=time_limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # with whatever it started, so that its pipe closes
        child.communicate()
        return _found(package, "timed out", f"its import took over {time_limit_s:g} s", _by_hand(package))
    answers = re.findall(r"^lbench doctor: (.*)$", output, re.MULTILINE)
    if not answers:
        how = f"signal {_signal(child.returncode)}" if child.returncode < 0 else f"exit {child.returncode}"
        return _found(package, "crashed", how, package.rebuild or _by_hand(package))
    return _judge(package, json.loads(answers[-1]))


def _judge(package: Package, said: dict[str, Any]) -> Finding:
    version = said["version"]
    if not said["found"]:
        return _found(package, "not installed", "", package.install)
    if not said["extension"]:
        reason = f"{package.extension} is missing"
        return _found(package, "no CUDA extension built", reason, package.rebuild, version)
    if "error" not in said:
        facts: dict[str, Any] = {name: said[name] for name in ("cuda", "cudnn", "gpus") if name in said}
        return Finding(
            package=package.name, status="ok", version=version, required=package.required, facts=facts or None
        )
    message = " ".join(said["message"].split())
    symbol = re.search(r"undefined symbol: (\S+)", message)
    if symbol:
        reason = f"{symbol[1]} (built for another torch)"
        return _found(package, "undefined symbol", reason, package.rebuild or _reinstall(package), version)
    mend = _reinstall(package)
    if said["error"] == "ModuleNotFoundError" and said["module"]:
        missing = said["module"].partition(".")[0]
        mend = mend if missing == package.name.partition(".")[0] else f"pip install {missing}"
    elif "libc10_cuda.so" in message or "libtorch_cuda.so" in message:
        mend = "install torch's CUDA build (pytorch.org, Get started)"
    elif "cannot open shared object file" in message:
        mend = package.rebuild or mend
    return _found(package, "import error", f"{said['error']}: {message}"[:300], mend, version)


def _found(package: Package, status: str, reason: str, mend: str, version: str | None = None) -> Finding:
    return Finding(
        package=package.name,
        status=status,
        version=version,
        reason=reason,
        mend=mend,
        required=package.required,
    )


def _reinstall(package: Package) -> str:
    distribution = (package.distributions or (package.name,))[0]
    return f"pip install --force-reinstall --no-deps {distribution}"


def _by_hand(package: Package) -> str:
    return f"see where it stops: python -X faulthandler -c 'import {package.extension or package.name}'"


def _signal(returncode: int) -> str:
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return str(-returncode)
