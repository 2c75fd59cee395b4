"""`lbench list` and `lbench doctor`, the latter with packages that are broken for real."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lbench import backends, mechanisms, suite
from lbench.doctor import Finding, examine, examine_all
from lbench.machine import describe_machine
from lbench.packages import PACKAGES, Package

Cli = Callable[..., tuple[int, str, str]]

NAMES = {"backends": backends.names, "suites": suite.names, "mechanisms": mechanisms.names}


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("what", NAMES)
def test_list_shows_every_name_in_few_columns(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, what: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, err = cli("list", what)
    assert (code, err) == (0, "")
    told, _, install = out.partition("\nno ")  # a command to copy is not broken
    assert max(map(len, told.splitlines())) <= width
    assert width < 80 or max(map(len, install.splitlines()), default=0) <= 80
    for name in NAMES[what]():
        assert re.search(rf"\b{re.escape(name)}\b", out), name


def test_list_mechanisms_shows_every_tensor_that_a_function_is_called_with(cli: Cli) -> None:
    blocks = cli("list", "mechanisms")[1].split("\n\n")
    for name, block in zip(mechanisms.names(), blocks, strict=False):
        spec = mechanisms.load(name)
        told = block.partition("tensors: ")[2].partition("backends: ")[0]
        assert re.findall(r"(\w+) \[", told) == [*spec.tensors, *spec.constants], name
    assert "slopes [h]" in blocks[3]


@pytest.mark.parametrize("what", NAMES)
def test_list_json_is_json(cli: Cli, what: str) -> None:
    code, out, _ = cli("list", what, "--json")
    assert code == 0
    assert sorted(record["name"] for record in json.loads(out)) == NAMES[what]()


def test_list_json_holds_the_declared_limits(cli: Cli) -> None:
    for record in json.loads(cli("list", "--json")[1]):
        limits = backends.load(record["name"]).limits
        assert record["limits"]["passes"] == list(limits.passes)
        assert record["limits"]["head_dim"] == list(limits.head_dim)
        assert bool(record["install"]) == bool(record["missing_package"])


def test_list_tells_which_package_is_missing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "missing_package", lambda backend: (backend.packages or (None,))[-1])
    out = cli("list")[1]
    assert "no einops:\n  pip install einops" in out
    assert re.search(r"^- lightning_triton", out, re.MULTILINE)
    assert re.search(r"^\+ lightning_eager", out, re.MULTILINE)


def test_list_of_something_else_is_a_usage_error(cli: Cli) -> None:
    code, out, err = cli("list", "backend")
    assert (code, out) == (2, "")
    assert "did you mean backends" in err


FAULTS = {
    "fine": "__version__ = '1.2'",
    "another_torch": "raise ImportError('/x/y.so: undefined symbol: _ZN3c104cuda29c10_cuda_check')",
    "needs_more": "import surely_not_installed.deep",
    "raises": "raise ValueError('two\\nlines')",
    "leaves": "raise SystemExit(0)",
    "noisy": "import sys, os\nos.write(1, b'no new line at the end')\nprint('lbench')",
    "quits": "import os; os._exit(3)",
    "segfaults": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "sleeps": "import subprocess, time\nsubprocess.Popen(['sleep', '60'])\ntime.sleep(60)",
    "other_cuda": "raise ImportError('libcudart.so.12: cannot open shared object file: No such file')",
    "torch_without_cuda": "raise ImportError('libc10_cuda.so: cannot open shared object file: No such file')",
}


@pytest.fixture
def examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finding]:
    for name, text in FAULTS.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "torch.py").touch()  # stands in for torch, whose import takes seconds
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(name: str, time_limit_s: float = 30.0, **fields: object) -> Finding:
        return examine(Package(name=name, install=f"pip install {name}", **fields), time_limit_s)

    return run


@pytest.mark.parametrize(
    ("name", "status", "reason", "mend"),
    [
        ("fine", "ok", "", ""),
        ("noisy", "ok", "", ""),
        ("absent", "not installed", "", "pip install absent"),
        (
            "another_torch",
            "undefined symbol",
            "_ZN3c104cuda29c10_cuda_check .built for another torch",
            "rebuild",
        ),
        ("needs_more", "import error", "surely_not_installed", "pip install surely_not_installed"),
        ("raises", "import error", "ValueError: two lines", "pip install --force-reinstall --no-deps raises"),
        ("leaves", "import error", "SystemExit", "pip install"),
        ("quits", "crashed", "exit 3", "rebuild"),
        ("segfaults", "crashed", "signal SIGSEGV", "rebuild"),
        ("other_cuda", "import error", "libcudart.so.12", "rebuild"),
        ("torch_without_cuda", "import error", "libc10_cuda.so", "CUDA build"),
    ],
)
def test_doctor_tells_the_exact_fault(
    examined: Callable[..., Finding], name: str, status: str, reason: str, mend: str
) -> None:
    finding = examined(name, rebuild="rebuild")
    assert finding.status == status
    assert re.search(reason, finding.reason)
    assert finding.mend.startswith(mend) if mend != "CUDA build" else mend in finding.mend
    assert (finding.mend == "") == (status == "ok")


def test_doctor_reads_versions(examined: Callable[..., Finding]) -> None:
    assert examined("fine").version == "1.2"
    assert examined("typer", distributions=("no-such-distribution", "typer")).version


def test_doctor_ends_an_import_that_hangs_with_its_children(examined: Callable[..., Finding]) -> None:
    finding = examined("sleeps", time_limit_s=1.0)
    assert finding.status == "timed out"
    assert "1 s" in finding.reason
    assert "python -X faulthandler -c 'import sleeps'" in finding.mend


def test_doctor_tells_a_missing_extension(examined: Callable[..., Finding]) -> None:
    finding = examined("fine", extension="fine_cuda", rebuild="rebuild it")
    assert (finding.status, finding.reason) == ("no CUDA extension built", "fine_cuda is missing")
    assert finding.mend == "rebuild it"
    assert examined("fine", extension="another_torch").status == "undefined symbol"
    assert examined("fine", extension="noisy").status == "ok"


def test_doctor_exit_code_is_1_only_for_required_packages(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import lbench.doctor

    for required, wanted in ((False, 0), (True, 1)):
        package = Package(name="surely_not_installed", install="pip install it", required=required)
        monkeypatch.setattr(lbench.doctor, "examine_all", lambda package=package: examine_all([package]))
        code, out, _ = cli("doctor")
        assert code == wanted
        assert "surely_not_installed" in out
        assert "    pip install it" in out
        code, out, _ = cli("doctor", "--json")
        assert code == wanted
        (finding,) = json.loads(out)["packages"]
        assert (finding["status"], finding["mend"]) == ("not installed", "pip install it")


@pytest.mark.parametrize(
    ("facts", "gpus", "told"),
    [
        ({"cuda": None, "cudnn": None, "gpus": 0}, [], "torch is built without"),
        ({"cuda": None, "cudnn": None, "gpus": 0}, ["a"], "torch cannot use the GPU: install its CUDA build"),
        ({"cuda": "13.0", "cudnn": 91100, "gpus": 0}, ["a"], "torch sees no GPU"),
        ({"cuda": "13.0", "cudnn": 91100, "gpus": 1}, ["a"], "13.0"),
    ],
)
def test_doctor_tells_how_torch_and_the_gpu_get_on(facts: dict, gpus: list, told: str) -> None:
    from lbench.cli.doctor import _torch_lines

    torch = Finding(package="torch", status="ok", facts=facts)
    assert told in "\n".join(_torch_lines({"gpus": gpus}, [torch]))


def test_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def fails() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", fails)
    machine = describe_machine()
    assert machine["gpu_problem"] == "no NVIDIA GPU: found no driver"
    assert machine["gpus"] == []
    assert machine["python"]
    assert machine["cores"] >= 1


def test_machine_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    answers = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": "handle",
        "nvmlSystemGetCudaDriverVersion": 13020,
        "nvmlSystemGetDriverVersion": "590.1",
        "nvmlDeviceGetCudaComputeCapability": (9, 0),
        "nvmlDeviceGetName": "NVIDIA H100",
        "nvmlDeviceGetMemoryInfo": type("Memory", (), {"total": 80 * 2**30}),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, lambda *_, answer=answer: answer)
    machine = describe_machine()
    assert machine["gpus"] == [{"name": "NVIDIA H100", "memory_mib": 81920, "capability": "9.0"}]
    assert (machine["driver"], machine["driver_cuda"]) == ("590.1", "13.2")
    assert machine["gpu_problem"] is None


def test_every_package_of_a_backend_is_one_the_doctor_knows() -> None:
    known = {name for package in PACKAGES for name in (package.name, package.extension, *package.modules)}
    wanted = {name for backend in map(backends.load, backends.names()) for name in backend.packages}
    assert wanted <= known


def test_list_keeps_its_columns_whatever_a_name_is(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = cli("list")[1].partition("\n\n")[0].splitlines()
    column = lines[0].index("passes")
    names = [line for line in lines if line[:2] in ("+ ", "- ")]
    assert len(names) == len(backends.names())
    assert all(len(name) == 1 for line in names if (name := line[2:column].split()))
    assert all(line[column - 1] == " " for line in names if len(line.split()) > 2)
    assert all(line[:column].isspace() for line in lines[1:] if line.startswith("   "))
