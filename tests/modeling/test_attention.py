"""Attention maps of the sink, mapped to the images and recorded without changing the forward."""

from __future__ import annotations

import pytest
import torch

from tests.modeling.factory import HEADS, Picture, batch, chat_row, student
from vicur.modeling import sink_attention

LONG = chat_row(Picture(2, 3, seed=1), 20, 21)
SEVERAL = chat_row(Picture(2, 2, seed=3), 24, Picture(1, 3, seed=4), 25)
TEXT = chat_row(26, 27)


@pytest.mark.parametrize("padding", ["left", "right"])
def test_attention_is_mapped_to_the_images_of_each_row(padding: str) -> None:
    made = student()
    maps = sink_attention(made, batch([TEXT, LONG, SEVERAL], padding))
    assert list(maps.weights) == [0, 2, 4]
    assert maps.weights[0].shape == (3, HEADS, 7)
    assert [valid.sum().item() for valid in maps.valid_BN] == [0, 6, 7]
    assert maps.images(0) == []
    assert [tuple(image.shape) for image in maps.images(1)] == [(3, HEADS, 1, 2, 3)]
    assert [tuple(image.shape) for image in maps.images(2)] == [(3, HEADS, 1, 2, 2), (3, HEADS, 1, 1, 3)]
    for row in (1, 2):
        total = sum(image.sum(dim=(-3, -2, -1)) for image in maps.images(row))
        torch.testing.assert_close(total, torch.ones(3, HEADS))


def test_weights_are_at_the_row_and_column_of_their_token() -> None:
    maps = sink_attention(student(), batch([LONG, SEVERAL]))
    image = maps.images(0)[0]
    for token, (number, frame, height, width) in enumerate(maps.places_BN4[0, :6].tolist()):
        assert (number, frame, height, width) == (0, 0, token // 3, token % 3)
        assert torch.equal(image[1, :, frame, height, width], maps.weights[2][0, :, token])
    assert maps.places_BN4[1, :, 0].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert maps.places_BN4[0, 6].tolist() == [-1] * 4


def test_recording_changes_no_output_and_removes_its_hooks() -> None:
    made, arguments = student(), batch([LONG])
    with torch.no_grad():
        before = made(**arguments).logits
        sink_attention(made, arguments)
        assert torch.equal(made(**arguments).logits, before)
    assert not any(attention._forward_hooks for attention in made.model.cue_recovery.attentions().values())


def test_a_batch_without_images_has_empty_maps() -> None:
    maps = sink_attention(student(), batch([TEXT]))
    assert maps.weights == {}
    assert maps.images(0) == []


def test_a_packed_row_is_rejected() -> None:
    arguments = batch([LONG])
    arguments.pop("attention_mask")
    arguments["sequence_ids"] = torch.arange(arguments["input_ids"].shape[1])[None] // 7
    with pytest.raises(ValueError, match="one sequence per row"):
        sink_attention(student(), arguments)
