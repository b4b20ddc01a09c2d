"""Prompts and responses that would be misread are refused, one by one; the others are answered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.vllm.cases import LONGEST, Case, Request, requests
from tests.vllm.engine import Answers, ask
from tests.vllm.parity import gap

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]


def _with_text(request: Request, place: int, token: int) -> Request:
    """The request with one more token of text at a place of its prompt."""
    prompt = request.prompt
    ids, types = list(prompt.ids), list(prompt.types)
    ids.insert(place, token)
    types.insert(place, 0)
    return replace(request, prompt=replace(prompt, ids=tuple(ids), types=tuple(types)))


def _without(request: Request, token: int) -> Request:
    kept = [(i, t) for i, t in zip(request.prompt.ids, request.prompt.types, strict=True) if i != token]
    ids, types = zip(*kept, strict=True)
    return replace(request, prompt=replace(request.prompt, ids=ids, types=types))


@pytest.fixture(scope="session")
def asked(case: Case) -> list[Request]:
    """Requests that are well, and after them some that are not, or only in part."""
    well = [
        request for request in requests(case.chat, 1, seed=4) if request.kind in ("image", "no image", "same image")
    ]
    image = next(request for request in well if request.kind == "image")
    video = case.student.config.video_token_id
    return [
        *well,
        _with_text(image, 1, case.chat.image_id),
        _with_text(image, len(image.prompt.ids) - 2, case.chat.image_id),
        _with_text(image, 1, video),
        _without(image, case.chat.start_id),
        replace(image, prompt=case.chat.prompt("and " * LONGEST, image.prompt.pixels)),
        image,
    ]


@pytest.fixture(scope="session")
def found(case: Case, asked: list[Request], tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What vLLM says to them; the last would rather begin a turn than say anything else."""
    turn = {"allowed_token_ids": None, "logit_bias": {case.chat.start_id: 100.0}, "max_tokens": 8}
    return ask(case, asked, tmp_path_factory.mktemp("prompts"), sampling={len(asked) - 1: turn})


def test_placeholders_without_an_image_are_refused_wherever_they_stand(found: Answers) -> None:
    for answer in found.answers[3:6]:
        assert answer.error is not None
        assert "more image or video placeholders than images" in answer.error
        assert answer.ids == []


def test_a_prompt_without_a_turn_is_refused_where_the_sink_would_be_in_it(case: Case, found: Answers) -> None:
    error = found.answers[6].error
    if case.student.config.recovery_settings.sink == "assistant":
        assert error is not None
        assert "no <|im_start|>" in error
    else:
        assert error is None
        assert found.answers[6].ids


def test_a_prompt_longer_than_a_step_takes_is_refused(found: Answers) -> None:
    error = found.answers[7].error
    assert error is not None
    assert f"maximum context length is {LONGEST}" in error


def test_what_is_refused_leaves_the_others_as_they_are(case: Case, asked: list[Request], found: Answers) -> None:
    between = gap(asked[:3], found.answers[:3], case.answers(asked[:3]))
    assert between.differing == ()
    assert between.logprob < 1e-4


def test_no_response_begins_a_turn_that_would_be_the_sink(case: Case, found: Answers) -> None:
    response = found.answers[-1].ids
    begins = case.chat.start_id in response
    assert begins == (case.student.config.recovery_settings.sink == "first")
