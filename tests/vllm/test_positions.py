"""Sinks and visual tokens of a forward."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vicur.errors import VicurError
from vicur_vllm.positions import forward_positions, tokens_of

pytestmark = pytest.mark.vllm
START, IMAGE = 1, 2


def _metadata(queries: list[int], computed: list[int]) -> Any:
    starts = torch.tensor([0, *queries]).cumsum(0).int()
    return SimpleNamespace(
        query_start_loc=starts,
        seq_lens=(torch.tensor(queries) + torch.tensor(computed)).int(),
        max_query_len=max(queries),
    )


def test_prompts_among_responses_are_found_by_the_boundaries_that_vllm_holds() -> None:
    # A response's token, a prompt with two images, a prompt without one, a response's token, a prompt with an image.
    visual = [0, *(0, 1, 1, 0, 1, 0), *(0, 0), 0, *(0, 1, 0)]
    tokens = tokens_of(torch.zeros(13), torch.tensor(visual).bool(), None)
    found = forward_positions(tokens, _metadata([1, 6, 2, 1, 3], [9, 0, 0, 4, 0]))
    assert found is not None
    assert found.sinks_S.tolist() == [1, 10]
    assert found.visual_SN.tolist() == [[2, 3, 5], [11, 11, 11]]
    assert found.valid_SN.tolist() == [[True, True, True], [True, False, False]]


def test_the_assistants_sink_is_the_last_turn_of_its_own_request() -> None:
    ids = torch.tensor([7, START, IMAGE, 7, START, 7, START, IMAGE])
    found = forward_positions(tokens_of(ids, ids == IMAGE, START), _metadata([1, 5, 2], [3, 0, 0]))
    assert found is not None
    assert found.sinks_S.tolist() == [4, 6]


def test_placeholders_in_text_are_text() -> None:
    ids = torch.tensor([7, IMAGE, IMAGE, IMAGE])
    found = forward_positions(tokens_of(ids, torch.tensor([0, 0, 1, 1]).bool(), None), _metadata([4], [0]))
    assert found is not None
    assert found.visual_SN.tolist() == [[2, 3]]


@pytest.mark.parametrize("start_id", [None, START])
def test_a_forward_without_images_has_no_positions(start_id: int | None) -> None:
    ids = torch.tensor([START, 7, 8])
    assert forward_positions(tokens_of(ids, None, start_id), _metadata([2, 1], [0, 5])) is None


@pytest.mark.parametrize(
    ("ids", "start_id"),
    [([7, IMAGE, 7], None), ([7, IMAGE, 7], START), ([7, START, 7], START)],
    ids=["an image", "an image, sink assistant", "the sink"],
)
def test_the_rest_of_a_prompt_is_refused(ids: list[int], start_id: int | None) -> None:
    tokens = torch.tensor(ids)
    with pytest.raises(VicurError, match="came in parts"):
        forward_positions(tokens_of(tokens, tokens == IMAGE, start_id), _metadata([1, 2], [0, 4]))
