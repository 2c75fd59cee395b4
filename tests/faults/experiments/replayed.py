"""A replay device that holds a row of every case, and the sweep that it plays."""

from __future__ import annotations

from pathlib import Path

from rows import make_row

from experiments.sweep import Experiment, rows, run
from lbench.results import Row, Writer, content_id

BACKENDS = ("lightning_eager", "softmax_eager")
LENGTHS = range(1, 26)
LONG = range(1, 201)
"""Of a sweep of 400 cases, that outlasts all waits of an experiment: 0.5 s, even at 1.5 ms a case."""


def replay(
    device: Path, out: Path, seq: str = "1..25:+1", backends: tuple[str, ...] = BACKENDS
) -> list[object]:
    backend = ("--backend", ",".join(backends), "--pass", "fwd", "--batch", 1)
    return ["run", *backend, "--seq", seq, "--device", f"replay:{device}", "--out", out]


def replay_again(device: Path, made: Experiment) -> list[object]:
    """The sweep of all that an experiment has to do, or what is left of it."""
    lengths = len(made.cases) // len(BACKENDS)
    return [*replay(device, made.folder, f"1..{lengths}:+1"), "--resume"]


def keys(lengths: object, backends: tuple[str, ...] = BACKENDS) -> set[str]:
    mechanisms = {"lightning_eager": "lightning", "softmax_eager": "softmax"}
    made = (
        make_row(backend=name, mechanism=mechanisms[name], seq_len=n) for name in backends for n in lengths
    )
    return {row.case.key.replace(",cpu", ",cuda") for row in made}


def kept_device(folder: Path, lengths: range = LENGTHS) -> tuple[Path, Experiment]:
    """A replay device with a row of every case, and an experiment that has yet to begin."""
    write_rows(folder / "device", lengths)
    return folder / "device", Experiment(folder=folder / "out", cases=keys(lengths))


def write_rows(folder: Path, lengths: range = LENGTHS) -> None:
    writer = open_writer(folder)
    for backend, mechanism in zip(BACKENDS, ("lightning", "softmax"), strict=True):
        for length in lengths:
            row = make_row(backend=backend, mechanism=mechanism, seq_len=length, device="cuda")
            writer.append(Row(**{**row.__dict__, "times_ms": row.times_ms * 10}))
    writer.close()


def open_writer(folder: Path) -> Writer:
    writer = Writer(folder)
    machine = {"device": "cuda", "gpu": "a GPU", "cpu": "a CPU"}
    writer.document("environments", content_id(machine), machine)
    writer.document("runs", "r1", {"environment": content_id(machine)})
    return writer


def finish(made: Experiment, device: Path) -> Experiment:
    made.first = made.first or rows(made.folder)
    code, _, made.resumed_said = run(*replay_again(device, made), "--other-environment")
    made.codes.append(code)
    made.resumed = rows(made.folder)
    return made
