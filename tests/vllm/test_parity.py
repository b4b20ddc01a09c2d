"""Students in vLLM answer as in transformers, token for token."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.vllm.cases import LONGEST, Case, make_student, requests
from tests.vllm.engine import ask
from tests.vllm.parity import Gap, gap
from vicur.modeling.student import cue_recovery_off

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]
# For other machines (docs/vllm.md): more arguments of the engine, and how exact its arithmetic is, as the largest difference of a
# log-probability and the share of requests in which a tie may fall the other way.
ENGINE: dict[str, Any] = json.loads(os.environ.get("VICUR_PARITY_ENGINE", "{}"))
TOLERANCE = float(os.environ.get("VICUR_PARITY_TOLERANCE", "1e-4"))
DIFFERING = float(os.environ.get("VICUR_PARITY_DIFFERING", "0"))


def test_greedy_tokens_and_logprobs_are_those_of_transformers(case: Case, tmp_path: Path) -> None:
    asked = requests(case.chat, 52)
    assert len(asked) >= 500
    assert min(Counter(request.kind for request in asked).values()) == 52
    scored = range(0, len(asked), 10)
    found = ask(case, asked, tmp_path, engine=ENGINE, scored=scored)
    _require_parity(gap(asked, found.answers, case.answers(asked)), len(asked))
    assert found.most_running > 50
    for place in scored:
        expected = case.prompt_logprobs(asked[place]).numpy()
        np.testing.assert_allclose(found.answers[place].prompt_logprobs, expected, atol=TOLERANCE, rtol=0)


def test_the_module_is_what_makes_the_answers(case: Case) -> None:
    asked = [request for request in requests(case.chat, 10) if request.images]
    with_module = case.answers(asked)
    with cue_recovery_off(case.student):
        without = case.answers(asked)
    shifts = [abs(a.logprobs[0] - b.logprobs[0]) for a, b in zip(with_module, without, strict=True)]
    assert np.quantile(shifts, 0.1) > 10 * TOLERANCE
    assert sum(a.ids != b.ids for a, b in zip(with_module, without, strict=True)) > 0.4 * len(asked)


def test_preempted_requests_are_computed_again_to_the_same_tokens(case: Case, tmp_path: Path) -> None:
    asked = [
        dataclasses.replace(request, max_tokens=48) for request in requests(case.chat, 6, seed=1) if _short(request)
    ]
    few_blocks = {"block_size": 32, "num_gpu_blocks_override": 26, "max_num_seqs": 16}
    found = ask(case, asked, tmp_path, engine={**ENGINE, **few_blocks}, arriving=16)
    assert found.preemptions > 5
    _require_parity(gap(asked, found.answers, case.answers(asked)), len(asked))


def test_aborted_requests_leave_the_others_as_they_are(case: Case, tmp_path: Path) -> None:
    asked = requests(case.chat, 6, seed=2)
    aborted = [place for place in range(0, len(asked), 3) if asked[place].max_tokens > 3]
    found = ask(case, asked, tmp_path, engine=ENGINE, abort=aborted, arriving=3)
    kept = [place for place in range(len(asked)) if place not in aborted]
    assert any(not found.answers[place].ids for place in aborted)
    expected = case.answers(asked)
    between = gap([asked[p] for p in kept], [found.answers[p] for p in kept], [expected[p] for p in kept])
    _require_parity(between, len(kept))


@pytest.mark.skipif(0 < torch.cuda.device_count() < 2, reason="one GPU")
def test_two_ranks_of_tensor_parallelism_answer_as_one(tmp_path: Path) -> None:
    # The other tiny model has three heads.
    case = make_student("assistant", tmp_path / "student")
    asked = requests(case.chat, 10, seed=5)
    found = ask(case, asked, tmp_path, engine={**ENGINE, "tensor_parallel_size": 2})
    _require_parity(gap(asked, found.answers, case.answers(asked)), len(asked))


def _require_parity(between: Gap, asked: int) -> None:
    assert len(between.differing) <= DIFFERING * asked
    assert between.logprob < TOLERANCE


def _short(request: Any) -> bool:
    return len(request.prompt.ids) + 48 < LONGEST
