"""The action and the workflows: well formed, and the action's steps do what they say as plain commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import lbench
from lbench import suite as suites

sys.path.insert(0, str(Path(__file__).parent / "gates"))
from processes import jitter, keep

ROOT = Path(lbench.__file__).parent.parent
ACTION = ROOT / "action.yml"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCRIPTED = {"device": "cuda", "gpu": "scripted GPU (replay)", "cpu": "scripted CPU"}
LENGTHS = (1024, 2048, 4096, 8192)
SUITE = """
[[sweep]]
backend = "lightning_eager"
seq = "1k,2k,4k,8k"
"""

pytestmark = pytest.mark.skipif(not ACTION.is_file(), reason="not a checkout")


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    return yaml.safe_load(ACTION.read_text())


def test_every_step_says_its_shell_and_takes_inputs_through_its_environment_alone(
    action: dict[str, Any],
) -> None:
    for step in action["runs"]["steps"]:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "an input within a script is an injection"
        for value in step["env"].values():
            (name,) = re.findall(r"inputs\.([\w-]+)", value)
            assert name in action["inputs"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_use_what_there_is(path: Path, action: dict[str, Any]) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"]["contents"] == "read"
    text = path.read_text()
    for name in re.findall(r"(suites/[\w-]+\.toml|results/[\w.-]+)", text):
        assert (ROOT / name).exists(), name
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] > 0
        for step in job["steps"]:
            if step.get("uses") == "./":
                assert set(step["with"]) <= set(action["inputs"])


def test_commands_of_workflows_are_commands_of_lbench(cli: Any) -> None:
    for path in WORKFLOWS:
        for command in re.findall(r"lbench ((?:check |baseline )?[a-z]+)[^;\n]*", path.read_text()):
            if command.split()[0] in ("run", "compare", "check", "baseline"):
                assert cli(*command.split(), "--help")[0] == 0, command


def test_the_suites_that_ci_gates_have_cases() -> None:
    gpu = suites.load(str(ROOT / "suites" / "gate.toml")).cases("cuda")
    assert {case.backend for case in gpu} == {"lightning_triton"}
    assert suites.load(str(ROOT / "suites" / "gate-cpu.toml")).cases("cpu")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty repository with a suite, and a baseline of its machine."""
    (tmp_path / "gate.toml").write_text(SUITE)
    suite = suites.load(str(tmp_path / "gate.toml")).as_dict()
    for number in range(6):
        started = f"2026-01-0{1 + number}T00:00:00Z"
        keep(
            tmp_path / "day" / str(number), f"b{number}", jitter(number), SCRIPTED, suite, started_at=started
        )
    return tmp_path


def device(place: Path, scale: float) -> str:
    folder = place / f"device-{scale}"
    folder.mkdir()
    lines = [
        f'[[case]]\nmatch = "*,t{length},*"\nseed = 1\ntimes_ms = [{time_ms}, {time_ms * 1.001}]'
        for length, time_ms in zip(LENGTHS, jitter(50, scale), strict=True)
    ]
    (folder / "replay.toml").write_text("\n".join(lines))
    return f"replay:{folder}"


def act(action: dict[str, Any], place: Path, **given: str) -> tuple[int, str]:
    """Runs the action's steps as a runner would, without the installation; the exit code and the outputs."""
    inputs = {name: spec.get("default", "") for name, spec in action["inputs"].items()}
    inputs |= {"python": sys.executable, **given}
    output, summary = place / "output", place / "summary"
    output.touch()
    paths = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    for step in action["runs"]["steps"][1:]:
        env = {
            name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: inputs[found[1]], value)
            for name, value in step["env"].items()
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=place,
            env={
                **os.environ,
                **env,
                "PYTHONPATH": paths,
                "GITHUB_OUTPUT": str(output),
                "GITHUB_STEP_SUMMARY": str(summary),
            },
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            return done.returncode, output.read_text() + done.stderr
    return 0, output.read_text()


@pytest.mark.parametrize(("scale", "code"), [(1.0, 0), (1.1, 1)])
def test_the_steps_pass_clean_code_and_fail_slower_code(
    action: dict[str, Any], repository: Path, scale: float, code: int, cli: Any
) -> None:
    assert cli("baseline", "save", "main", repository / "day", "--store", repository / "baselines")[0] == 0
    found, told = act(
        action, repository, suite="gate.toml", baseline="main", device=device(repository, scale), budget="1s"
    )
    assert found == code, told
    assert f"exit-code={code}" in told
    results = repository / "lbench-results"
    comment = (results / "comment.md").read_text()
    assert ("fail" in comment.splitlines()[0]) == bool(code)
    assert (repository / "summary").read_text() == (
        repository / "lbench-results" / "regression.md"
    ).read_text()
    assert len(list((results / "rows").iterdir())) == 2


def test_undecided_warns_or_fails_as_asked_and_usage_always_fails(
    action: dict[str, Any], repository: Path
) -> None:
    few = repository / "day" / "0"  # one process is no baseline
    given = {"suite": "gate.toml", "device": device(repository, 1.0), "budget": "", "processes": "1"}
    code, told = act(action, repository, **given, baseline=str(few))
    assert (code, "exit-code=3" in told) == (0, True)
    code, told = act(action, repository, **given, baseline=str(few), undecided="fail", results="again")
    assert code == 3, told
    code, told = act(action, repository, **given, baseline="nobody", results="usage")
    assert (code, "exit-code=2" in told) == (2, True)
