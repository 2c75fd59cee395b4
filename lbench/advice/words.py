"""Advice in words: one sentence, what weakens it, and the rows it rests on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from lbench import models
from lbench.advice import SHOWN, Advice
from lbench.advice.estimates import Answer, Question
from lbench.advice.missing import command_for, least
from lbench.case import Case
from lbench.lengths import format_length
from lbench.models import configurations
from lbench.models.classes import size_text
from lbench.models.costs import GIB, memory_of
from lbench.report.wording import MEANINGS
from lbench.terminal import counted

PASSES = {"train": "training", "prefill": "prefill", "decode": "decoding"}
HEAD = ("", "mixer", "batch", "tokens/s", "GiB", "from")
OF_NUMBERS = (2, 3, 4)


def sentence(advice: Advice) -> str:
    """What to take, or that no row says so."""
    best, asked = advice.best, _asked(advice)
    if best is None:
        return f"No row answers {asked}: {_why_not(advice)}."
    verb = "measured" if not best.tier else f"estimated {_from(best)}"
    return (
        f"For {asked} take {_who(best)}{_setting(best.case)}: {_speed(best)} in "
        f"{best.memory_bytes / GIB:.1f} GiB, {verb}, on {best.machine}."
    )


def notes(advice: Advice) -> Iterator[str]:
    """What else a reader must know before following it."""
    best = advice.best
    if best is None:
        yield _to_do(advice, "Such rows come from")
        return
    if best.tier:
        yield _to_do(advice, "Nothing at that length and size was measured; this measures it")
    if advice.equals:
        yield f"Cannot be told from it: {'; '.join(_who(one) + _setting(one.case) for one in advice.equals)}."
    if other := advice.faster_estimate:
        yield (
            f"May be faster, not measured: {_who(other)}{_setting(other.case)}, {_speed(other)} estimated "
            f"{_from(other)}."
        )
    if doubts := [doubt for one in best.rows for doubt in one.row.doubts]:
        yield f"Doubted: {'; '.join(dict.fromkeys(doubts))}."
    if said := _failures(advice):
        yield f"No time: {said}."
    if advice.elsewhere:
        yield f"Left out, since machines differ: rows of {', '.join(advice.elsewhere)}."
    if advice.too_large:
        yield f"Left out for want of memory: {counted(len(advice.too_large), 'known setting')}."


def table(advice: Advice) -> Iterator[str]:
    """The best answers, their settings and where each comes from, then the keys of the rows."""
    shown = advice.answers[:SHOWN]
    lines = [HEAD, *(_cells(number, one) for number, one in enumerate(shown, start=1))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    settings = ["", *(_setting(one.case) for one in shown)]
    for line, setting in zip(lines, settings, strict=True):
        cells = [
            cell.rjust(width) if place in OF_NUMBERS else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
        if setting:
            yield f"{' ' * widths[0]} {setting}"
    if len(advice.answers) > SHOWN:
        yield f"and {len(advice.answers) - SHOWN} more; --json has them all"
    yield "rows:"
    for number, one in enumerate(shown, start=1):
        yield from (f"  {number}  {row.row.case.key}" for row in one.rows)


def _cells(number: int, answer: Answer) -> tuple[str, ...]:
    case = answer.case
    sizes = (format_length(case.batch), f"{answer.tokens_per_s:,.0f}", f"{answer.memory_bytes / GIB:.1f}")
    return (str(number), f"{case.backend} in {case.model}", *sizes, answer.basis)


def command(advice: Advice) -> str:
    """What makes the rows that are missing: of an estimate that very case; empty where nothing fits."""
    best = advice.best
    # A file is found by its path alone, which no key has.
    if best and best.tier and not configurations.is_name(best.case.model):
        return f"lbench run --case {shlex.quote(best.case.key)}"
    return command_for(advice.question)


def _to_do(advice: Advice, lead: str) -> str:
    """The command that makes the rows, or why there is none."""
    question = advice.question
    if words := command(advice):
        return f"{lead}: {words}"
    case = least(question)
    if case is None:
        return f"No backend here can serve {PASSES[question.pass_name]} of {question.asked}."
    return (
        f"Nothing of it is predicted to fit: {case.model} at batch {case.batch}{_setting(case)} would take "
        f"{memory_of(case)}."
    )


def _asked(advice: Advice) -> str:
    question = advice.question
    batch = f" at batch {question.batch}" if question.batch else ""
    return (
        f"{PASSES[question.pass_name]} {_named(question)} at {format_length(question.seq_len)}{batch} within "
        f"{question.memory_bytes / GIB:.4g} GiB"
    )


def _named(question: Question) -> str:
    if question.of_names and question.asked not in question.models:
        return f"{question.asked} models"
    return question.asked


def _who(answer: Answer) -> str:
    case = answer.case
    count = models.of_case(case).parameters
    return f"{case.backend} in {case.model} ({size_text(count)} parameters)"


def _setting(case: Case) -> str:
    return f" with {bare}" if (bare := _bare_setting(case)) != "plain" else ""


def _bare_setting(case: Case) -> str:
    """What of the case is not the usual, the dtype included where it is another than bf16."""
    parts = [case.setting] * bool(case.setting) + [case.dtype] * (case.dtype != "bf16")
    return ", ".join(parts) or "plain"


def _speed(answer: Answer) -> str:
    time_ms, case = answer.time_ms, answer.case
    took = f"{time_ms / 1e3:.3g} s" if time_ms >= 1e3 else f"{time_ms:.3g} ms"
    rate = f"{answer.tokens_per_s:,.0f} tokens/s"
    if case.pass_name == "decode":
        return f"{took} a token ({rate} at batch {case.batch})"
    if case.pass_name == "prefill":
        return f"{took} to the first token ({rate} at batch {case.batch})"
    per = " a GPU" if case.device == "cuda" else ""
    return f"{rate}{per} ({took} a step of {case.batch} x {format_length(case.seq_len)})"


def _from(answer: Answer) -> str:
    """`between 64k and 256k`, `from 64k by its FLOPs`, `from tnl-385m by its FLOPs`."""
    lengths = [format_length(row.row.case.seq_len) for row in answer.rows]
    work = "bytes" if answer.case.pass_name == "decode" else "FLOPs"
    where = f"between {lengths[0]} and {lengths[1]}" if len(lengths) > 1 else f"from {lengths[0]}"
    if answer.basis == "of another size":
        return f"from {answer.rows[0].row.case.model} ({where}) by its {work}"
    return where if len(lengths) > 1 else f"{where}, the nearest length, by its {work}"


def _failures(advice: Advice) -> str:
    named: dict[str, list[str]] = {}
    for one in advice.failures:
        who = f"{one.row.case.who}{_setting(one.row.case)}"
        named.setdefault(one.row.verdict, []).append(who)
    return "; ".join(
        f"{MEANINGS[verdict]}: {', '.join(dict.fromkeys(who))}" for verdict, who in named.items()
    )


def _why_not(advice: Advice) -> str:
    if advice.too_large:
        least = advice.too_large[0]
        known = "was measured" if not least.tier else f"is estimated ({_from(least)})"
        return (
            f"the least that {known} is {least.memory_bytes / GIB:.1f} GiB, {_who(least)}"
            f"{_setting(least.case)}"
        )
    counts = dict(advice.counts)
    if counts["of these models"]:
        return f"{counts['of them ok']} of {counts['of these models']} rows of such a model are ok" + (
            f" ({said})" if (said := _failures(advice)) else ", none at a batch that was asked for"
        )
    if not counts["of models"]:
        return f"none of the {counts['rows']:,} rows is of a model"
    told = f"{counts['of that pass']:,} of {counts['of models']:,} rows of models are of that pass"
    return f"{told}, none of these models or their families"
