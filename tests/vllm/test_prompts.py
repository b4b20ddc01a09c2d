"""Prompts that the model would misinterpret are rejected individually, and the other requests are answered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.vllm.cases import LONGEST, Case, Request, make_requests
from tests.vllm.engine import Answers, run_engine
from tests.vllm.parity import gap

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]


def _with_text(request: Request, place: int, token: int) -> Request:
    """Return the request with an additional text token in its prompt."""
    prompt = request.prompt
    ids, types = list(prompt.ids), list(prompt.types)
    ids.insert(place, token)
    types.insert(place, 0)
    return replace(request, prompt=replace(prompt, ids=tuple(ids), types=tuple(types)))


def _without(request: Request, token: int) -> Request:
    rest = [(i, t) for i, t in zip(request.prompt.ids, request.prompt.types, strict=True) if i != token]
    ids, types = zip(*rest, strict=True)
    return replace(request, prompt=replace(request.prompt, ids=ids, types=types))


@pytest.fixture(scope="session")
def requests(case: Case) -> list[Request]:
    """Return three valid requests, followed by invalid ones and one that is valid for one of the sinks."""
    valid = [
        request
        for request in make_requests(case.chat, 1, seed=4)
        if request.kind in ("image", "no image", "same image")
    ]
    image = next(request for request in valid if request.kind == "image")
    video = case.student.config.video_token_id
    return [
        *valid,
        _with_text(image, 1, case.chat.image_id),
        _with_text(image, len(image.prompt.ids) - 2, case.chat.image_id),
        _with_text(image, 1, video),
        _without(image, case.chat.start_id),
        replace(image, prompt=case.chat.prompt("and " * LONGEST, image.prompt.pixels)),
        image,
    ]


@pytest.fixture(scope="session")
def results(case: Case, requests: list[Request], tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Return the answers of vLLM. The logit bias makes the last response start a turn if it can."""
    turn = {"allowed_token_ids": None, "logit_bias": {case.chat.start_id: 100.0}, "max_tokens": 8}
    return run_engine(case, requests, tmp_path_factory.mktemp("prompts"), sampling={len(requests) - 1: turn})


def test_placeholders_without_an_image_are_rejected_at_every_position(results: Answers) -> None:
    for answer in results.answers[3:6]:
        assert answer.error is not None
        assert "more image or video placeholders than images" in answer.error
        assert answer.ids == []


def test_a_prompt_without_a_turn_is_rejected_for_the_sink_assistant(case: Case, results: Answers) -> None:
    error = results.answers[6].error
    if case.student.config.recovery_settings.sink == "assistant":
        assert error is not None
        assert "no <|im_start|>" in error
    else:
        assert error is None
        assert results.answers[6].ids


def test_a_prompt_that_exceeds_the_context_length_is_rejected(results: Answers) -> None:
    error = results.answers[7].error
    assert error is not None
    assert f"maximum context length is {LONGEST}" in error


def test_rejected_requests_do_not_change_the_others(case: Case, requests: list[Request], results: Answers) -> None:
    between = gap(requests[:3], results.answers[:3], case.answers(requests[:3]))
    assert between.differing == ()
    assert between.logprob < 1e-4


def test_responses_cannot_start_a_turn_for_the_sink_assistant(case: Case, results: Answers) -> None:
    response = results.answers[-1].ids
    starts_turn = case.chat.start_id in response
    assert starts_turn == (case.student.config.recovery_settings.sink == "first")
