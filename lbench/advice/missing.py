"""The command that would make the rows a question lacks."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator

from lbench import backends, models
from lbench.advice.estimates import Question
from lbench.case import Case
from lbench.lengths import format_length
from lbench.models.costs import memory_of
from lbench.models.operators import cannot_serve, unmet

STEP = 32 * 1024
"""Tokens a training step of short sequences has at the least."""
CHUNK = 16 * 1024
"""Tokens at once where whole sequences do not fit."""
ALL = "none,selective,block"


def command_for(question: Question) -> str:
    """`lbench run` with the models of the question that can serve the pass, and of these those that fit.

    Empty where none is predicted to fit.
    """
    cases = _fitting(question)
    if not cases:
        return ""
    first = cases[0]
    names = ",".join(case.model for case in cases) if question.of_names else question.asked
    words = ["lbench run", f"--model {shlex.quote(names)}"]
    if any(case.backend != _usual(models.load(case.model).mechanism) for case in cases):
        words.append(f"--backend {','.join(dict.fromkeys(case.backend for case in cases))}")
    words += [f"--seq {format_length(question.seq_len)}", f"--pass {question.pass_name}"]
    words.append(f"--batch {first.batch}")
    if question.pass_name == "train":
        chunk = f"--checkpoint block --chunk {format_length(first.chunk)}"
        words.append(chunk if first.chunk else f"--checkpoint {ALL}")
    return " ".join([*words, "--dtype bf16"])


def least(question: Question) -> Case | None:
    """The case of the question that is predicted to take the least memory; None where none can be tried."""
    tried = (case for cases in _tried(question) for case in cases)
    return min(tried, key=lambda case: memory_of(case).total, default=None)


def _fitting(question: Question) -> list[Case]:
    """Those that fit, of the batch at which most do, the largest; whole sequences before chunks of them."""
    fitting = [[case for case in cases if _fits(case, question)] for cases in _tried(question)]
    found = [cases for cases in fitting if cases]
    return max((cases for cases in found if cases[0].chunk == found[0][0].chunk), key=len, default=[])


def _tried(question: Question) -> Iterator[list[Case]]:
    """A case a model: whole sequences and then chunks, ever fewer at once where any number will do."""
    able = [case for name in question.models if (case := _case(question, name))]
    chunked = question.pass_name == "train" and question.seq_len > CHUNK
    for chunk in (0, CHUNK) if chunked else (0,):
        batch = question.batch or max(STEP // question.seq_len, 1)
        while batch:
            yield [dataclasses.replace(case, batch=batch, chunk=chunk) for case in able]
            batch = 0 if question.batch else batch // 2


def _fits(case: Case, question: Question) -> bool:
    return memory_of(case).total <= question.memory_bytes


def _case(question: Question, name: str) -> Case | None:
    """The case of a model by the first backend that serves it, the usual one before all others."""
    mechanism = models.load(name).mechanism
    # The eager forms come last: they are what is left where nothing quicker serves.
    others = sorted((one.name for one in backends.of_mechanism(mechanism)), key=lambda one: "eager" in one)
    for backend in dict.fromkeys([_usual(mechanism), *others]):
        case = dataclasses.replace(
            models.fields_of(name, backend, mechanism, "native", "", "cuda"),
            pass_name=question.pass_name,
            seq_len=question.seq_len,
            checkpoint="block" if question.pass_name == "train" else "none",
        )
        if not (cannot_serve(case) or unmet(case, None)):
            return case
    return None


def _usual(mechanism: str) -> str:
    """The backend that `lbench run` takes where none is named."""
    return models.DEFAULT_MIXERS.get(mechanism, f"{mechanism}_eager")
