"""Compare answers of vLLM with those of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.vllm.cases import Request
from tests.vllm.engine import Answer
from vicur.modeling.generation import Response

PRINTED = "parity: "
"""Prefix of the lines that are repeated in the summary."""


@dataclass(frozen=True)
class Gap:
    """Difference between two sets of answers."""

    differing: tuple[int, ...]  # indices of requests whose tokens differ
    logprob: float  # largest difference of a log-probability before the first token that differs


def gap(requests: Sequence[Request], answers: Sequence[Answer], expected: Sequence[Response]) -> Gap:
    """Compare answers and print the result. The expected responses may be longer than the requests allow."""
    differing, logprob = [], 0.0
    for place, (request, answer, response) in enumerate(zip(requests, answers, expected, strict=True)):
        ids = list(response.ids[: request.max_tokens])
        if answer.ids != ids:
            differing.append(place)
        same = next(
            (n for n, (a, b) in enumerate(zip(answer.ids, ids, strict=False)) if a != b), min(len(answer.ids), len(ids))
        )
        if same:
            logprob = max(logprob, float(np.abs(np.subtract(answer.logprobs[:same], response.logprobs[:same])).max()))
    print(f"{PRINTED}{len(differing)} of {len(requests)} requests differ; log-probabilities by {logprob:.1e}")
    return Gap(tuple(differing), logprob)
