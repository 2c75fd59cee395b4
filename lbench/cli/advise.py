"""`lbench advise`: which mixer and setting for a model, length and memory, by kept rows. No GPU."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lbench import terminal
from lbench.cli import complete, folders
from lbench.errors import UsageError, unknown

if TYPE_CHECKING:
    from lbench.advice import Advice
    from lbench.advice.estimates import Answer, Question

NO_ANSWER = 3


def command(
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Result folders; by default those kept with lbench, and those in runs/.", show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A model, a config.json, or a size class: 1b is every model of that size.",
            show_default=False,
            autocompletion=complete.models,
        ),
    ] = None,
    seq: Annotated[str | None, typer.Option(help="One length: 128k.", show_default=False)] = None,
    pass_name: Annotated[str, typer.Option("--pass", help="train, prefill, decode.")] = "train",
    memory: Annotated[
        str | None, typer.Option(help="Memory to stay within: 80g; by default this card's, or 80 GiB.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Sequences at once; by default any in training, else 1.", min=1),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
) -> None:
    """Say in one sentence which mixer and setting to take, how fast it is, and how much memory it takes.

    What was measured at that length stands before what is estimated, and both say so. Exit code 3 where no
    row answers; the command that makes such rows is printed then.
    """
    question = _question(model, seq, pass_name, memory, batch)
    from lbench.advice import advise

    found = advise(question, folders.measured(results or _kept()))
    print(json.dumps(_record(found), indent=1) if as_json else "\n".join(_lines(found)))
    if found.best is None:
        raise typer.Exit(NO_ANSWER)


def _question(
    model: str | None, seq: str | None, pass_name: str, memory: str | None, batch: int | None
) -> Question:
    from lbench.advice.estimates import Question
    from lbench.case import MODEL_PASSES
    from lbench.cli.list_models import parse_memory
    from lbench.lengths import parse_length
    from lbench.models.classes import named

    if model is None or seq is None:
        raise UsageError("advise needs a model and a length: lbench advise --model 1b --seq 128k")
    if pass_name not in MODEL_PASSES:
        raise unknown("pass of models", pass_name, MODEL_PASSES)
    length = parse_length(seq)
    return Question(
        asked=model,
        models=_with_positions(named(model), length),
        seq_len=length,
        pass_name=pass_name,
        memory_bytes=parse_memory(memory)[0],
        batch=batch or (0 if pass_name == "train" else 1),
    )


def _with_positions(names: tuple[str, ...], length: int) -> tuple[str, ...]:
    """The models that have positions for a sequence of that length; UsageError where none has."""
    from lbench.models.sweep import check_length

    able, refused = [], UsageError("")
    for name in names:
        try:
            check_length(name, "native", length)
        except UsageError as error:
            refused = error
        else:
            able.append(name)
    if not able:
        raise refused
    return tuple(able)


def _kept() -> list[Path]:
    """Folders of the repository's results and of runs in the folder at hand."""
    import lbench

    places = (Path(lbench.__file__).parent.parent / "results", Path("runs"))
    found = {path.parent for place in places for path in place.glob("*/rows.jsonl*")}
    if not found:
        raise UsageError("there are no kept results here; give result folders that `lbench run` wrote")
    return sorted(found)


def _lines(found: Advice) -> list[str]:
    from lbench.advice.words import notes, sentence, table

    width = terminal.columns()
    lines = textwrap.wrap(sentence(found), width)
    for note in notes(found):
        # A command stays on one line, so that it can be copied.
        lines += [note] if "lbench run" in note else textwrap.wrap(note, width)
    return [*lines, "", *table(found)] if found.best else lines


def _record(found: Advice) -> dict[str, Any]:
    from lbench.advice.words import command, notes, sentence

    question = found.question
    return {
        "sentence": sentence(found),
        "notes": list(notes(found)),
        "models": list(question.models),
        "seq_len": question.seq_len,
        "pass": question.pass_name,
        "batch": question.batch or None,
        "memory_bytes": question.memory_bytes,
        "answers": [_answer(one) for one in found.answers],
        "too_large": [_answer(one) for one in found.too_large],
        "failures": [
            {"key": one.row.case.key, "verdict": one.row.verdict, "reason": one.row.reason}
            for one in found.failures
        ],
        "command": command(found),
    }


def _answer(one: Answer) -> dict[str, Any]:
    return {
        "key": one.case.key,
        "basis": one.basis,
        "time_ms": one.time_ms,
        "tokens_per_s": one.tokens_per_s,
        "memory_bytes": one.memory_bytes,
        "machine": one.machine,
        "rows": [row.row.case.key for row in one.rows],
    }
