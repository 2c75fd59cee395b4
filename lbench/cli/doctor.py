"""`lbench doctor`: what works on this machine, and the line that mends what does not."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lbench import terminal

if TYPE_CHECKING:
    from lbench.doctor import Finding

COMMAND = re.compile(r"([A-Z_]+=\S+ )*(pip|python) ")
"""A line to copy, which is not wrapped."""


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
        for line in (*_machine_lines(machine), *_torch_lines(machine, findings)):
            terminal.tell(line, indent=" " * 8)
        print()
        for finding in findings:
            terminal.tell(_told(finding), indent=" " * 4)
            if COMMAND.match(finding.mend):
                print(f"    {finding.mend}")
            elif finding.mend:
                terminal.tell(finding.mend, first="    ", indent=" " * 6)
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


def _told(finding: Finding) -> str:
    mark = "+" if finding.status == "ok" else "x" if finding.required else "-"
    told = finding.version or "no version" if finding.status == "ok" else finding.status
    return f"{mark} {finding.package:22}{told}{': ' + finding.reason if finding.reason else ''}"
