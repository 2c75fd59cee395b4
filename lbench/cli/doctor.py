"""`lbench doctor`: what works on this machine, and the line that mends what does not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lbench.doctor import Finding


def command(
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check GPU, driver and every package; exit with 1 if a required one is broken."""
    from lbench.doctor import examine_all
    from lbench.machine import describe_machine

    machine, findings = describe_machine(), examine_all()
    if json_output:
        packages = [dataclasses.asdict(finding) for finding in findings]
        print(json.dumps({"machine": machine, "packages": packages}, indent=2))
    else:
        print("\n".join((*_machine_lines(machine), *_torch_lines(machine, findings), "")))
        print("\n".join(line for finding in findings for line in _package_lines(finding)))
    if any(finding.required and finding.status != "ok" for finding in findings):
        raise typer.Exit(1)


def _machine_lines(machine: dict[str, Any]) -> Iterator[str]:
    yield f"OS      {machine['os']}"
    yield f"CPU     {machine['cpu']}, {machine['cores']} cores"
    if machine["gpu_problem"]:
        yield f"GPU     {machine['gpu_problem']}"
    for gpu in machine["gpus"]:
        yield f"GPU     {gpu['name']}, {gpu['memory_mib']} MiB, compute capability {gpu['capability']}"
    if machine["driver"]:
        yield f"driver  {machine['driver']}, for CUDA up to {machine['driver_cuda']}"
    yield f"Python  {machine['python']}"


def _torch_lines(machine: dict[str, Any], findings: list[Finding]) -> Iterator[str]:
    """How torch and the GPU get on; packages alone can all be ok while no GPU is used."""
    facts = next((finding.facts for finding in findings if finding.package == "torch"), None)
    if facts is None:
        return
    cuda, gpus = facts["cuda"], facts["gpus"]
    yield (
        f"CUDA    {cuda} (torch's), cuDNN {facts['cudnn']}"
        if cuda
        else "CUDA    none: torch is built without"
    )
    if not machine["gpus"]:
        return
    if not cuda:
        yield "        torch cannot use the GPU: install its CUDA build (pytorch.org, Get started)"
    elif not gpus:
        yield f"        torch sees no GPU: is CUDA {cuda} newer than the driver, or CUDA_VISIBLE_DEVICES set?"


def _package_lines(finding: Finding) -> Iterator[str]:
    mark = "+" if finding.status == "ok" else "x" if finding.required else "-"
    told = finding.version or "no version" if finding.status == "ok" else finding.status
    yield f"{mark} {finding.package:22}{told}{': ' + finding.reason if finding.reason else ''}"
    if finding.mend:
        yield f"    {finding.mend}"
