"""Advice: of kept rows, which mixer and setting is fastest for a model, length, pass and memory.

An answer is measured at that very length, or estimated: between two lengths of its own sweep, or, from the
nearest row, by how much more work the asked length or size is. What was measured stands before what was
estimated, however fast an estimate looks.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lbench.advice.estimates import Answer, Question, answers
from lbench.claims.rows import Measured

FASTER = 1.05
"""An estimate is told beside what was measured where it is faster by this factor."""
SHOWN = 8
"""Answers that are listed."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What the rows say to a question."""

    question: Question
    answers: tuple[Answer, ...]
    """All that fit, the best first; those of one machine alone."""
    too_large: tuple[Answer, ...] = ()
    """Those that do not fit, the smallest first; of the machine of the answers, where there are any."""
    failures: tuple[Measured, ...] = ()
    """Rows at the very length that have no time; of the machine of the answers, where there are any."""
    elsewhere: tuple[str, ...] = ()
    """Machines whose rows answer too and were left out: times of two machines say nothing of mixers."""
    counts: tuple[tuple[str, int], ...] = ()
    """How many rows there were, of how many models, of how many of the pass."""

    @property
    def best(self) -> Answer | None:
        """What to take."""
        return self.answers[0] if self.answers else None

    @property
    def faster_estimate(self) -> Answer | None:
        """The fastest estimate, where it promises more than what is known better."""
        known = self.best
        if known is None:
            return None
        less = [one for one in self.answers if one.tier > known.tier]
        fastest = max(less, key=lambda one: one.tokens_per_s, default=None)
        return fastest if fastest and fastest.tokens_per_s > FASTER * known.tokens_per_s else None

    @property
    def equals(self) -> tuple[Answer, ...]:
        """Measured answers whose intervals overlap that of the best."""
        known = self.best
        if known is None or known.tier:
            return ()
        return tuple(one for one in self.answers[1:] if not one.tier and one.overlaps(known))


def advise(question: Question, rows: Sequence[Measured]) -> Advice:
    """The advice on a question from kept rows."""
    of_pass = [one for one in rows if one.row.case.model and one.row.case.pass_name == question.pass_name]
    found = answers(question, of_pass)
    fitting = [one for one in found if one.memory_bytes <= question.memory_bytes]
    fitting = _of_settings(sorted(fitting, key=lambda one: (one.tier, -one.tokens_per_s)))
    machine = fitting[0].machine if fitting else ""
    large = [one for one in found if one.memory_bytes > question.memory_bytes]
    large = _of_settings(sorted(large, key=lambda one: (one.tier, one.memory_bytes)))
    others = dict.fromkeys(one.machine for one in fitting if one.machine != machine)
    return Advice(
        question=question,
        answers=tuple(one for one in fitting if one.machine == machine),
        too_large=tuple(one for one in large if machine in ("", one.machine)),
        failures=tuple(one for one in of_pass if _failed(one, question) and machine in ("", one.machine)),
        elsewhere=tuple(others),
        counts=_counts(rows, of_pass, question),
    )


def _of_settings(found: Sequence[Answer]) -> list[Answer]:
    """The first of each setting and machine, whatever its batch."""
    first: dict[tuple[str, str], Answer] = {}
    for one in found:
        first.setdefault((dataclasses.replace(one.case, batch=1).key, one.machine), one)
    return list(first.values())


def _failed(one: Measured, question: Question) -> bool:
    case = one.row.case
    asked = case.model in question.models and case.seq_len == question.seq_len and question.takes(case.batch)
    return asked and one.row.verdict != "ok"


def _counts(
    rows: Sequence[Measured], of_pass: Sequence[Measured], question: Question
) -> tuple[tuple[str, int], ...]:
    verdicts = Counter(one.row.verdict for one in of_pass if one.row.case.model in question.models)
    return (
        ("rows", len(rows)),
        ("of models", sum(bool(one.row.case.model) for one in rows)),
        ("of that pass", len(of_pass)),
        ("of these models", verdicts.total()),
        ("of them ok", verdicts["ok"]),
    )
