"""Images in prompts are resized into the pixel budget of the prompt's use."""

import io

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vicur.config.base import BaseModelConfig
from vicur.config.prompts import PixelBudget, PixelBudgets, PromptConfig
from vicur.modeling.chat import Chat
from vicur.modeling.pixels import PixelReader

PAPER = PixelBudget(min=3584, max=401408)


def picture(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def published() -> Qwen2VLImageProcessorPil:
    """Return the image processor of the published Qwen3-VL checkpoints."""
    return Qwen2VLImageProcessorPil(patch_size=16, size={"shortest_edge": 65536, "longest_edge": 16777216})


def chat(**budgets) -> Chat:
    return Chat.load(BaseModelConfig().folder, PromptConfig(pixels=PixelBudgets(**budgets)))


sides = st.integers(1, 700)


@settings(deadline=None, max_examples=60)
@given(sides, sides, st.integers(100, 60_000), st.integers(0, 400_000))
def test_grid_and_patches_are_those_of_the_processor(width, height, low, more):
    assume(max(width, height) <= 200 * min(width, height))
    budget = PixelBudget(min=low, max=low + more)
    processor = published()
    reader = PixelReader(processor)
    size = {"shortest_edge": low, "longest_edge": low + more}
    image = picture(width, height)
    expected = processor(images=[Image.open(io.BytesIO(image))], size=size, return_tensors="pt")
    pixels = reader.read(image, budget)
    assert pixels.grid == tuple(expected["image_grid_thw"][0].tolist())
    assert torch.equal(pixels.patches(), expected["pixel_values"])


def test_a_photo_fits_the_budget_of_the_paper():
    reader = PixelReader(published())
    photo = picture(2000, 1500)
    assert reader.read(photo, PixelBudget()).tokens == 2914
    assert reader.read(photo, PAPER).tokens <= 392
    # The paper's smallest image is below the checkpoint's.
    assert reader.read(picture(64, 64), PAPER).tokens == 4
    assert reader.read(picture(64, 64), PixelBudget()).tokens == 64


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({}, (256, 16384)),
        ({"max": 100}, (100, 100)),
        ({"min": 20000}, (20000, 20000)),
        ({"min": 1000, "max": 2000}, (1000, 2000)),
        ({"max": 4096}, (256, 4096)),
    ],
)
def test_what_a_budget_leaves_open_is_the_checkpoints(budget, expected):
    assert PixelBudget(**budget).completed(256, 16384) == expected


def test_each_use_has_its_budget():
    chats = chat(max=4096, teacher=PixelBudget(max=16384), evaluation=PixelBudget(max=1024))
    image = picture(256, 256)
    tokens = {use: chats.pixels(image, use).tokens for use in ("student", "teacher", "evaluation")}
    assert tokens == {"student": 16, "teacher": 64, "evaluation": 4}
    assert chats.prompt("What?", [chats.pixels(image, "teacher")]).ids.count(chats.image_id) == 64


def test_images_share_features_exactly_if_they_have_the_same_size_in_both_prompts():
    chats = chat(teacher=PixelBudget(max=4096))
    small, large = picture(64, 48), picture(200, 200)
    assert chats.pixels(small).key == chats.pixels(small, "teacher").key
    assert chats.pixels(large).key != chats.pixels(large, "teacher").key
    assert torch.equal(chats.pixels(small).patches(), chats.pixels(small, "teacher").patches())
    assert chats.pixels(large).patches().shape != chats.pixels(large, "teacher").patches().shape
