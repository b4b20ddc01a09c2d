"""Sinks and visual tokens of the requests in a forward pass."""

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


def test_prompts_between_responses_are_found_by_their_boundaries() -> None:
    # A token of a response, a prompt with two images, a prompt without images, a token of a response, a prompt with one image.
    visual = [0, *(0, 1, 1, 0, 1, 0), *(0, 0), 0, *(0, 1, 0)]
    tokens = tokens_of(torch.zeros(13), torch.tensor(visual).bool(), None)
    positions = forward_positions(tokens, _metadata([1, 6, 2, 1, 3], [9, 0, 0, 4, 0]))
    assert positions is not None
    assert positions.sinks_S.tolist() == [1, 10]
    assert positions.visual_SN.tolist() == [[2, 3, 5], [11, 11, 11]]
    assert positions.valid_SN.tolist() == [[True, True, True], [True, False, False]]


def test_the_sink_assistant_is_the_last_turn_of_each_request() -> None:
    ids = torch.tensor([7, START, IMAGE, 7, START, 7, START, IMAGE])
    positions = forward_positions(tokens_of(ids, ids == IMAGE, START), _metadata([1, 5, 2], [3, 0, 0]))
    assert positions is not None
    assert positions.sinks_S.tolist() == [4, 6]


def test_placeholders_in_text_are_not_visual_tokens() -> None:
    ids = torch.tensor([7, IMAGE, IMAGE, IMAGE])
    positions = forward_positions(tokens_of(ids, torch.tensor([0, 0, 1, 1]).bool(), None), _metadata([4], [0]))
    assert positions is not None
    assert positions.visual_SN.tolist() == [[2, 3]]


@pytest.mark.parametrize("start_id", [None, START])
def test_a_forward_without_images_has_no_positions(start_id: int | None) -> None:
    ids = torch.tensor([START, 7, 8])
    assert forward_positions(tokens_of(ids, None, start_id), _metadata([2, 1], [0, 5])) is None


@pytest.mark.parametrize(
    ("ids", "start_id"),
    [([7, IMAGE, 7], None), ([7, IMAGE, 7], START), ([7, START, 7], START)],
    ids=["an image", "an image, sink assistant", "the sink"],
)
def test_the_second_part_of_a_split_prompt_is_rejected(ids: list[int], start_id: int | None) -> None:
    tokens = torch.tensor(ids)
    with pytest.raises(VicurError, match="a prompt was split"):
        forward_positions(tokens_of(tokens, tokens == IMAGE, start_id), _metadata([1, 2], [0, 4]))
