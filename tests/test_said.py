"""Figures in prose are those of the kept rows: each sentence, written again from them, is in its document."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import lbench
from lbench import results
from lbench.ratios import unpaired

ROOT = Path(lbench.__file__).parent.parent
RESULTS = ROOT / "results"
H100, H200 = "lightning-bar-h100-2026-11-23", "lightning-bar-h200-2026-11-23"
HEADLINE, SUITE, ERRORS, MODELS, WIDE = (
    "headline-h100-2026-11-22",
    "lightning-suite-h100-2026-11-23",
    "lightning-errors-h100-2026-11-23",
    "models-train-h100",
    "lightning-wide-h100-2026-11-24",
)
README, KERNELS = "README.md", "kernels/lightning_attention/README.md"
OURS, FLA, AUTHORS = "lightning_triton", "lightning_fla_chunk", "lightning_authors"
LONG, K256 = (1, 131072), (1, 262144)
PASSES = ("fwd", "fwdbwd")

pytestmark = pytest.mark.skipif(not (ROOT / README).is_file(), reason="not a checkout")


@functools.cache
def load(folder: str) -> Any:
    return lbench.load(RESULTS / folder).set_index("key")


def at(
    folder: str, name: str, backend: str, shape: tuple[int, int], column: str = "time_ms", **other: str
) -> float:
    """A figure of 16 heads x 128 in bf16, unless told otherwise."""
    fields = {"heads": "h16", "dims": "d128", "dtype": "bf16", **other}
    key = f"{backend},{name},b{shape[0]},t{shape[1]},{','.join(fields.values())},cuda"
    return float(load(folder).loc[key, column])


def times(folder: str, name: str, backend: str, shape: tuple[int, int], **other: str) -> float:
    """How many times as long as ours a backend takes."""
    return at(folder, name, backend, shape, **other) / at(folder, name, OURS, shape, **other)


def ends(values: Iterable[float]) -> tuple[float, float]:
    found = list(values)
    return min(found), max(found)


def cuts(
    folder: str, tokens: int, sequences: Iterable[int], columns: Iterable[str], backend: str = OURS
) -> list[float]:
    """Least and most over some ways to cut the tokens, forward and with gradients, column by column."""
    shapes = [(number, tokens // number) for number in sequences]
    return [
        end
        for column in columns
        for name in PASSES
        for end in ends(at(folder, name, backend, shape, column) for shape in shapes)
    ]


def powers(last: int) -> list[int]:
    return [2**n for n in range(last + 1)]


def saved() -> float:
    """The most that one short sequence gained since the headline rows, in percent."""
    gains = ((1, 2**n) for n in range(10, 17))
    return 100 * max(1 - at(H100, "fwd", OURS, shape) / at(HEADLINE, "fwd", OURS, shape) for shape in gains)


def bandwidth(folder: str) -> float:
    (run, *_) = sorted((RESULTS / folder / "runs").glob("*.json"))
    return float(json.loads(run.read_text())["copy_bandwidth_gb_s"]) / 1e3


def counters() -> list[float]:
    """GB moved and needed, percent of DRAM and of the tensor pipe of both our kernels."""
    told = (RESULTS / "profiles-h100-2026-11-23" / OURS / "profile.txt").read_text()
    moved = re.search(r"([\d.]+) GB must move, ([\d.]+) GB did", told)
    busy = re.findall(r"^hopper_\w+ .* (\d+)% +[\d.]+ +\d+% +(\d+)% ", told, re.MULTILINE)
    assert moved is not None
    return [float(part) for part in (moved[2], moved[1], *(line[pipe] for pipe in (0, 1) for line in busy))]


def slower_in_fp32(folder: str) -> list[float]:
    """How many times as long as bf16 the fp32 of a folder takes."""
    shape = (8, 16384)
    return [at(folder, name, OURS, shape, dtype="fp32") / at(H100, name, OURS, shape) for name in PASSES]


def errors() -> list[float]:
    rows = load(ERRORS)
    return [1e3 * end for end in (*ends(rows.error_out), *ends(rows.error_grad), rows.error_block.max())]


def below_h100() -> list[float]:
    """By how much shares of the floor fall on an H200, at four shapes and at the most."""
    fall = load(H100).floor_share - load(H200).floor_share
    four = [
        f"{OURS},{name},b{b},t{2**20 if b == 1 else 131072 // b},h16,d128,bf16,cuda"
        for name in PASSES
        for b in (64, 8, 1)
    ]
    keys = [*four, *(f"{OURS},{name},b1,t131072,h16,d128,bf16,cuda" for name in PASSES)]
    return [*ends(fall[keys]), fall.max()]


def trained(model: str, tokens: int, backend: str = OURS) -> float:
    """Tokens a second of a training step."""
    rows = load(MODELS)
    (speed,) = rows.tokens_per_s[
        (rows.model == model) & (rows.backend == backend) & (rows.seq_len == tokens) & (rows.verdict == "ok")
    ]
    return float(speed)


def overtakes(size: str, tokens: int) -> float:
    """How many times as fast ours is as LLaMA with FlashAttention-2."""
    return trained(f"tnl-{size}", tokens) / trained(f"llama-{size}", tokens, "flash_attn2")


def ends_of_92k() -> list[float]:
    """The 95 % interval of the same at the paper's longest length."""
    rows = load(MODELS)
    of_length = rows[(rows.seq_len == 94208) & (rows.verdict == "ok")].set_index("backend")
    theirs, ours = (
        of_length.loc[name, ["time_ms", "time_ms_low", "time_ms_high"]] for name in ("flash_attn2", OURS)
    )
    ratio = unpaired(tuple(theirs), tuple(ours))
    return [ratio.low, ratio.high]


def beside_alone(tokens: int) -> float:
    """Percent of its stand-alone speed that FlashAttention-2 has in a step of LLaMA-1B, 16 layers.

    Blocks are computed again: two passes forward and one backward a layer. Alone it has twice the tokens.
    """
    key = f"flash_attn2,train,b{2**17 // tokens},t{tokens},h16,d128,bf16,cuda,model=llama-1b"
    row = results.read(RESULTS / MODELS).rows[f"{key},checkpoint=block,compile=on"]
    shape = (2**18 // tokens, tokens)
    alone_ms = sum(at(HEADLINE, name, "flash_attn2", shape) for name in PASSES) / 2
    return 100 * 16 * alone_ms / row.model["mixer_ms"]


def clocks() -> tuple[float, float]:
    rows = results.read(RESULTS / MODELS).rows.values()
    return ends(block["sm_mhz"] for row in rows for block in row.blocks)


SAID = (
    (README, "at 256k they are {:.0f} times faster", lambda: [times(HEADLINE, "fwdbwd", "sdpa_cudnn", K256)]),
    (
        README,
        "{:.2f} to {:.2f} ns a token forward and {:.1f} to {:.1f} ns with gradients at 262,144 tokens, "
        "cut into 256 sequences or one; that is {:.2f} to {:.2f} of the memory floor forward, "
        "{:.2f} to {:.2f} with gradients.",
        lambda: cuts(HEADLINE, 262144, powers(8), ("ns_per_token", "floor_share")),
    ),
    (
        README,
        "At 256k that is {:.1f} and {:.1f} times the speed of",
        lambda: [times(HEADLINE, name, FLA, K256) for name in PASSES],
    ),
    (
        README,
        "({:.0f} to {:.0f} ns a token up to 16k at constant tokens)",
        lambda: cuts(HEADLINE, 262144, powers(8)[4:], ["ns_per_token"], AUTHORS)[2:],
    ),
    (
        README,
        "as one sequence take {:,.0f} ns a token with gradients",
        lambda: [at(HEADLINE, "fwdbwd", AUTHORS, K256, "ns_per_token")],
    ),
    (
        README,
        "Ours take {:.1f} ns there, {:.0f} times less.",
        lambda: [
            at(HEADLINE, "fwdbwd", OURS, K256, "ns_per_token"),
            times(HEADLINE, "fwdbwd", AUTHORS, K256),
        ],
    ),
    (
        README,
        "at 131,072 tokens {:.2f} to {:.2f} ns forward and {:.1f} to {:.1f} ns with gradients, "
        "cut into 64 sequences or one, {:.2f} to {:.2f} and {:.2f} to {:.2f} of the floor",
        lambda: cuts(H100, 131072, (64, 8, 1), ("ns_per_token", "floor_share")),
    ),
    (
        README,
        "up to {:.0f} % less time forward: {:.1f} us at 1 x 1k, {:.0f} us at 1 x 64k",
        lambda: [saved(), *(1e3 * at(H100, "fwd", OURS, (1, length)) for length in (1024, 65536))],
    ),
    (
        README,
        "{:.1f} and {:.0f} times as fast at 1 x 128k with gradients",
        lambda: [times(H100, "fwdbwd", one, LONG) for one in (FLA, AUTHORS)],
    ),
    (KERNELS, "measured on the card, {:.2f} TB/s (H200: {:.2f})", lambda: [bandwidth(H100), bandwidth(H200)]),
    (KERNELS, "{} GB moved for {}, DRAM {:.0f} and {:.0f} % busy, tensor pipe {:.0f} and {:.0f} %", counters),
    (
        KERNELS,
        "{:.0f} times as long as bf16 forward, {:.0f} times with gradients (8 x 16,384)",
        lambda: slower_in_fp32(WIDE),
    ),
    (
        f"results/{H200}/NOTES.md",
        "are {:.2f} to {:.2f} below those of the H100 (up to {:.2f} at others",
        below_h100,
    ),
    (f"results/{ERRORS}/NOTES.md", "outputs {:.1f}e-3 to {:.1f}e-3", lambda: errors()[:2]),
    (f"results/{ERRORS}/NOTES.md", "worst gradient of a case {:.1f}e-3 to {:.1f}e-3", lambda: errors()[2:4]),
    (f"results/{ERRORS}/NOTES.md", "of any head {:.1f}e-3", lambda: errors()[4:]),
    (
        f"results/{SUITE}/NOTES.md",
        "{:.2f} at 1,024 tokens, as fast at 2,048, {:.1f} at 4,096, {:.1f} at 16,384, {:.1f} at 65,536.",
        lambda: [times(SUITE, "fwd", FLA, (1, 2**n)) for n in (10, 12, 14, 16)],
    ),
    (
        KERNELS,
        "took {:.0f} and {:.0f} times as long; other cards",
        lambda: slower_in_fp32(H100),
    ),
    (f"results/{MODELS}/NOTES.md", "SM clocks from {:,.0f} to {:,.0f} MHz", clocks),
    *(
        (document, sentence, lambda: [trained("tnl-1b", 1024), trained("tnl-1b", 131072)])
        for document, sentence in (
            (f"results/{MODELS}/NOTES.md", "{:,.0f} tokens/s at 1k, {:,.0f} at 128k"),
            (README, "1B trains at {:,.0f} tokens a second at 1k and {:,.0f} at 128k"),
        )
    ),
    *(
        (document, sentence, figures)
        for sentence, figures in (
            ("{:.1f} times as fast as LLaMA with FlashAttention-2", lambda: [overtakes("385m", 94208)]),
            ("(95 %: {:.1f} to {:.1f}; ", ends_of_92k),
        )
        for document in (f"results/{MODELS}/NOTES.md", README)
    ),
    (
        f"results/{MODELS}/NOTES.md",
        "{:.0f} % of its speed at 128k, {:.0f} % at 64k, {:.0f} % at 16k, {:.0f} to {:.0f} % at 4k and 1k",
        lambda: [beside_alone(2**n) for n in (17, 16, 14, 12, 10)],
    ),
    (
        f"results/{MODELS}/NOTES.md",
        "ours is {:.2f}, {:.1f}, {:.1f}, {:.1f} and {:.1f} times as fast",
        lambda: [overtakes("1b", 2**n) for n in (10, 12, 14, 16, 17)],
    ),
)
"""Document, sentence, and what its figures are."""


@pytest.mark.parametrize(("document", "sentence", "figures"), SAID)
def test_a_sentence_says_what_the_rows_say(document: str, sentence: str, figures: Any) -> None:
    text = re.sub(r"\s+", " ", (ROOT / document).read_text())
    assert sentence.format(*figures()) in text
