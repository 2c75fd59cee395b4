"""The command that would make the rows a question lacks."""

from __future__ import annotations

import dataclasses

from lbench import models
from lbench.advice.estimates import Question
from lbench.case import Case
from lbench.lengths import format_length
from lbench.models.costs import memory_of
from lbench.models.operators import cannot_serve

STEP = 32 * 1024
"""Tokens a training step of short sequences has at the least."""
CHUNK = 16 * 1024
"""Tokens at once where whole sequences do not fit."""
ALL = "none,selective,block"


def command_for(question: Question) -> str:
    """`lbench run` with the models of the question that can serve the pass, and of these those that fit.

    Empty where none is predicted to fit.
    """
    for chunk in (0, CHUNK) if question.pass_name == "train" else (0,):
        cases = [case for case in _able(question, chunk) if _fits(case, question)]
        if cases:
            break
    else:
        return ""
    words = ["lbench run", f"--model {','.join(case.model for case in cases)}"]
    words += [f"--seq {format_length(question.seq_len)}", f"--pass {question.pass_name}"]
    words.append(f"--batch {cases[0].batch}")
    if question.pass_name == "train":
        words.append(f"--checkpoint block --chunk {format_length(chunk)}" if chunk else f"--checkpoint {ALL}")
    return " ".join([*words, "--dtype bf16"])


def least(question: Question) -> Case | None:
    """The case of the question that is predicted to take the least memory; None where none can be tried."""
    cases = _able(question, CHUNK if question.pass_name == "train" else 0)
    return min(cases, key=lambda case: memory_of(case).total, default=None)


def _able(question: Question, chunk: int) -> list[Case]:
    cases = [dataclasses.replace(_case(question, name), chunk=chunk) for name in question.models]
    return [case for case in cases if not cannot_serve(case)]


def _fits(case: Case, question: Question) -> bool:
    return memory_of(case).total <= question.memory_bytes


def _case(question: Question, name: str) -> Case:
    model = models.load(name)
    backend = models.DEFAULT_MIXERS.get(model.mechanism, f"{model.mechanism}_eager")
    case = models.fields_of(name, backend, model.mechanism, "native", "", "cuda")
    train = question.pass_name == "train"
    return dataclasses.replace(
        case,
        pass_name=question.pass_name,
        seq_len=question.seq_len,
        batch=question.batch or max(STEP // question.seq_len, 1),
        checkpoint="block" if train else "none",
    )
