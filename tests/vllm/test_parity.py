"""Students generate the same tokens in vLLM as in transformers."""

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

from tests.vllm.cases import LONGEST, Case, make_requests, make_student
from tests.vllm.engine import run_engine
from tests.vllm.parity import Gap, gap
from vicur.modeling.student import cue_recovery_off

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]
# Settings for other machines (docs/vllm.md): additional engine arguments, the tolerance of log-probabilities, and the share of requests in
# which rounding may decide a tie between tokens differently.
ENGINE: dict[str, Any] = json.loads(os.environ.get("VICUR_PARITY_ENGINE", "{}"))
TOLERANCE = float(os.environ.get("VICUR_PARITY_TOLERANCE", "1e-4"))
DIFFERING = float(os.environ.get("VICUR_PARITY_DIFFERING", "0"))


def test_greedy_tokens_and_logprobs_match_transformers(case: Case, tmp_path: Path) -> None:
    requests = make_requests(case.chat, 52)
    assert len(requests) >= 500
    assert min(Counter(request.kind for request in requests).values()) == 52
    scored = range(0, len(requests), 10)
    results = run_engine(case, requests, tmp_path, engine=ENGINE, scored=scored)
    _require_parity(gap(requests, results.answers, case.answers(requests)), len(requests))
    assert results.most_running > 50
    for place in scored:
        expected = case.prompt_logprobs(requests[place]).numpy()
        np.testing.assert_allclose(results.answers[place].prompt_logprobs, expected, atol=TOLERANCE, rtol=0)


def test_answers_depend_on_cue_recovery(case: Case) -> None:
    requests = [request for request in make_requests(case.chat, 10) if request.images]
    with_module = case.answers(requests)
    with cue_recovery_off(case.student):
        without = case.answers(requests)
    shifts = [abs(a.logprobs[0] - b.logprobs[0]) for a, b in zip(with_module, without, strict=True)]
    assert np.quantile(shifts, 0.1) > 10 * TOLERANCE
    assert sum(a.ids != b.ids for a, b in zip(with_module, without, strict=True)) > 0.4 * len(requests)


def test_preempted_requests_generate_the_same_tokens(case: Case, tmp_path: Path) -> None:
    requests = [
        dataclasses.replace(request, max_tokens=48)
        for request in make_requests(case.chat, 6, seed=1)
        if _short(request)
    ]
    few_blocks = {"block_size": 32, "num_gpu_blocks_override": 26, "max_num_seqs": 16}
    results = run_engine(case, requests, tmp_path, engine={**ENGINE, **few_blocks}, arriving=16)
    assert results.preemptions > 5
    _require_parity(gap(requests, results.answers, case.answers(requests)), len(requests))


def test_aborted_requests_do_not_change_the_others(case: Case, tmp_path: Path) -> None:
    requests = make_requests(case.chat, 6, seed=2)
    aborted = [place for place in range(0, len(requests), 3) if requests[place].max_tokens > 3]
    results = run_engine(case, requests, tmp_path, engine=ENGINE, abort=aborted, arriving=3)
    others = [place for place in range(len(requests)) if place not in aborted]
    assert any(not results.answers[place].ids for place in aborted)
    expected = case.answers(requests)
    between = gap([requests[p] for p in others], [results.answers[p] for p in others], [expected[p] for p in others])
    _require_parity(between, len(others))


@pytest.mark.skipif(0 < torch.cuda.device_count() < 2, reason="one GPU")
def test_tensor_parallelism_gives_the_same_answers(tmp_path: Path) -> None:
    # Not the student with the sink "first", whose three heads cannot be split.
    case = make_student("assistant", tmp_path / "student")
    requests = make_requests(case.chat, 10, seed=5)
    results = run_engine(case, requests, tmp_path, engine={**ENGINE, "tensor_parallel_size": 2})
    _require_parity(gap(requests, results.answers, case.answers(requests)), len(requests))


def _require_parity(between: Gap, count: int) -> None:
    assert len(between.differing) <= DIFFERING * count
    assert between.logprob < TOLERANCE


def _short(request: Any) -> bool:
    return len(request.prompt.ids) + 48 < LONGEST
