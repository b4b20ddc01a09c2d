"""Each mistake that a port of the module can make shows as another answer than transformers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.vllm.cases import Case, requests
from tests.vllm.engine import EngineFailedError, ask
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
def test_a_faulty_build_is_told_apart(first: Case, tmp_path: Path, mutant: str, engine: dict[str, Any]) -> None:
    asked = requests(first.chat, 4, seed=3)
    found = ask(first, asked, tmp_path, engine=engine, mutant=mutant)
    between = gap(asked, found.answers, first.answers(asked))
    assert between.differing
    assert between.logprob > 1e-3


def test_without_guards_nothing_else_is_changed(first: Case, tmp_path: Path) -> None:
    asked = requests(first.chat, 4, seed=3)
    found = ask(first, asked, tmp_path, mutant="WithoutGuards")
    between = gap(asked, found.answers, first.answers(asked))
    assert between.differing == ()
    assert between.logprob < 1e-4


@pytest.mark.parametrize(
    ("engine", "reason"),
    [(PREFIX_CACHING, "sink that has seen one image"), (SPLIT_PROMPTS, "before the sink has seen all images")],
    ids=["prefix caching", "chunked prefill"],
)
def test_an_engine_that_would_be_wrong_does_not_start(
    first: Case, tmp_path: Path, engine: dict[str, Any], reason: str
) -> None:
    with pytest.raises(EngineFailedError, match=reason):
        ask(first, requests(first.chat, 1), tmp_path, engine=engine)
