"""Every mistake that a port of cue recovery can make changes the answers, so that the parity tests detect it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.vllm.cases import Case, make_requests
from tests.vllm.engine import EngineFailedError, run_engine
from tests.vllm.parity import gap

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]
PREFIX_CACHING: dict[str, Any] = {"enable_prefix_caching": True, "block_size": 32}
SPLIT_PROMPTS: dict[str, Any] = {"enable_chunked_prefill": True, "max_num_batched_tokens": 48}


@pytest.mark.parametrize(
    ("mutant", "engine"),
    [
        ("WithoutModule", {}),
        ("WithoutResidual", {}),
        ("BoundariesFromPositions", {}),
        ("OneSequence", {}),
        ("PromptsOnly", {}),
        ("OtherSink", {}),
        ("OtherPixels", {}),
        ("WithoutGuards", PREFIX_CACHING),
        ("WithoutGuards", SPLIT_PROMPTS),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_a_faulty_build_gives_different_answers(
    first: Case, tmp_path: Path, mutant: str, engine: dict[str, Any]
) -> None:
    requests = make_requests(first.chat, 4, seed=3)
    results = run_engine(first, requests, tmp_path, engine=engine, mutant=mutant)
    between = gap(requests, results.answers, first.answers(requests))
    # Ten times the tolerance of the parity tests. Slightly other pixels need not change a greedy token.
    assert between.logprob > 1e-3


def test_removing_the_guards_alone_does_not_change_answers(first: Case, tmp_path: Path) -> None:
    requests = make_requests(first.chat, 4, seed=3)
    results = run_engine(first, requests, tmp_path, mutant="WithoutGuards")
    between = gap(requests, results.answers, first.answers(requests))
    assert between.differing == ()
    assert between.logprob < 1e-4


@pytest.mark.parametrize(
    ("engine", "reason"),
    [(PREFIX_CACHING, "prefix caching is enabled"), (SPLIT_PROMPTS, "chunked prefill is enabled")],
    ids=["prefix caching", "chunked prefill"],
)
def test_an_engine_with_wrong_settings_does_not_start(
    first: Case, tmp_path: Path, engine: dict[str, Any], reason: str
) -> None:
    with pytest.raises(EngineFailedError, match=reason):
        run_engine(first, make_requests(first.chat, 1), tmp_path, engine=engine)
