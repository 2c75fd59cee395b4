"""Imports run one way, and the light parts stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lbench
from lbench.cli import main

ROOT = Path(lbench.__file__).parent
LAYERS = (
    {
        "__init__",
        "__main__",
        "errors",
        "statistics",
        "clock",
        "protocol",
        "telemetry",
        "compilation",
        "machine",
        "packages",
        "interrupt",
        "terminal",
    },
    {"doubts", "fields", "graph", "preflight", "replay_clock", "revisions"},
    {"lengths", "limits", "durations", "timing", "ratios", "memory", "poison", "energy"},
    {"case", "environment"},
    {"row"},
    {"writer"},
    {"mechanisms"},
    {"backends", "results"},
    {"models"},
    {"floors", "barriers"},
    {"prediction"},
    {"workload", "suite", "metrics", "isolation", "comparison", "attest", "frontier"},
    {"verify", "frame", "rotation", "crew", "timers", "replay", "folders", "follow"},
    {"repeats", "plan"},
    {"measurement", "device", "model_check"},
    {"profiling", "model_measurement", "sampling"},
    {"worker", "doctor", "report", "gates"},
    {"runner", "plot", "export", "crossover"},
    {"validate", "page", "claims", "pytest_plugin"},
    {"advice"},
    {"cli"},
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
UPWARDS = {
    # Entry points and the lazy public names of the package.
    ("__init__", "frame"),
    ("__init__", "timing"),
    ("__main__", "cli"),
    # The worker's own function, called in-process.
    ("isolation", "worker"),
}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    parts: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            parts |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("lbench.")}
        elif isinstance(node, ast.ImportFrom) and node.module == "lbench":
            parts |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lbench."):
            parts.add((node.module or "").split(".")[1])
    return parts


def test_imports_run_downwards() -> None:
    for path in ROOT.rglob("*.py"):
        part = part_of(path)
        assert part in RANK, f"{path.name} has no layer: add it to LAYERS and to DESIGN.md"
        for imported in imported_parts(path) - {part}:
            allowed = RANK[imported] < RANK[part] or (part, imported) in UPWARDS
            assert allowed, f"{path.relative_to(ROOT)} imports {imported}, which is not below it"


def test_kernels_import_torch_and_triton_alone() -> None:
    kernels = ROOT.parent / "kernels" / "lightning_attention"
    for path in kernels.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                assert top in {"torch", "triton", "lightning_attention", *sys.stdlib_module_names}, (
                    f"{path}: {name}"
                )


HEAVY = {
    *("torch", "triton", "fla", "flash_attn", "mamba_ssm", "lightning_attn"),
    *("numpy", "pandas", "matplotlib", "jinja2", "plotly", "rich", "pydantic", "asyncio", "multiprocessing"),
}


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "run --help",
        "list",
        "list backends --json",
        "list suites",
        "list mechanisms",
        "list models",
        "claims list",
        "advise --help",
    ],
)
def test_help_and_list_import_nothing_heavy(arguments: str) -> None:
    code = (
        "import sys\n"
        "from lbench.cli.main import main\n"
        f"try: main({arguments.split()!r})\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        f"heavy = {HEAVY!r} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_one_command_is_read_where_one_is_asked_for() -> None:
    """Reading the signatures of all takes longer than all the rest of `lbench list`."""

    def names(*arguments: str) -> list[str | None]:
        app = main.command_line(arguments)
        return [one.name for one in (*app.registered_commands, *app.registered_groups)]

    assert names("list", "suites") == ["list"]
    assert names("check", "constancy") == ["check"]
    for arguments in ((), ("--help",), ("lits",), ("--version", "list")):
        assert sorted(map(str, names(*arguments))) == sorted(main.COMMANDS)
