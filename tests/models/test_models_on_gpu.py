"""Models on a GPU: every pass right and timed, decoding in a graph, memory as predicted, compiled once."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from lbench import models
from lbench.case import MODEL_PASSES, Case
from lbench.models import costs
from lbench.protocol import Stopping
from lbench.worker import measure_case

pytestmark = pytest.mark.gpu
BRIEF = Stopping(budget_s=0.1, least=3, slow_least=2, very_slow_samples=1, warm_up_s=0.0)
PAIRS = [("tnl-385m", "lightning_triton"), ("llama-385m", "sdpa_flash")]


def case_of(name: str, backend: str, **fields: Any) -> Case:
    case = models.fields_of(name, backend, models.load(name).mechanism, "native", "", "cuda")
    return dataclasses.replace(case, **{"seq_len": 2048, "batch": 2, **fields})


@pytest.mark.parametrize("pass_name", MODEL_PASSES)
@pytest.mark.parametrize(("name", "backend"), PAIRS)
def test_every_pass_is_right_and_timed(name: str, backend: str, pass_name: str) -> None:
    outcome = measure_case(case_of(name, backend, pass_name=pass_name), "cuda:0", BRIEF)
    assert outcome["verdict"] == "ok", outcome["reason"]
    assert outcome["times_ms"]
    assert 0 < outcome["model"]["mixer_ms"] < outcome["model"]["metered_ms"]
    if pass_name == "decode":
        assert outcome["protocol"]["timer"] == "graph", outcome["doubts"]


@pytest.mark.parametrize("checkpoint", ["none", "selective", "block"])
@pytest.mark.parametrize(("name", "backend"), PAIRS)
def test_a_steps_memory_is_near_what_is_predicted(name: str, backend: str, checkpoint: str) -> None:
    from lbench.models.workload import build

    case = case_of(name, backend, batch=8, checkpoint=checkpoint)
    _, ledger = build(case, "cuda").ledger("cuda")
    used = ledger["inputs"] + ledger["peak"]
    assert 0.6 < costs.memory_of(case).total / used < 1.5


def test_what_is_compiled_is_right_and_made_once_for_all_lengths() -> None:
    first, second = (
        measure_case(case_of(*PAIRS[0], seq_len=length, batch=4096 // length, compile="on"), "cuda:0", BRIEF)
        for length in (1024, 2048)
    )
    for outcome in (first, second):
        assert outcome["verdict"] == "ok", outcome["reason"]
    assert second["first_call_s"] < first["first_call_s"]
