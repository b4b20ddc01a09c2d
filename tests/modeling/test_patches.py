"""Patches of images are made when they are needed: holding those of a dataset would take a hundred times its memory."""

import io

import torch
from PIL import Image

from tests.training.factory import scenes
from vicur.config.base import BaseModelConfig
from vicur.modeling.chat import Chat
from vicur.modeling.patches import PatchCache


def test_patches_that_were_not_used_for_long_are_made_again_and_are_the_same():
    cache, made = PatchCache(max_bytes=2 * 40), []

    def patches(key: str) -> torch.Tensor:
        made.append(key)
        return torch.full((10,), float(len(key)))

    def get(key: str) -> torch.Tensor:
        return cache.get(key, lambda: patches(key))

    get("a"), get("bb"), get("a"), get("ccc"), get("a")
    assert made == ["a", "bb", "ccc"]
    assert torch.equal(get("bb"), torch.full((10,), 2.0))
    assert made == ["a", "bb", "ccc", "bb"]


def test_patches_larger_than_all_room_are_given_and_not_kept():
    cache, made = PatchCache(max_bytes=8), []
    for _ in range(2):
        assert cache.get("key", lambda: made.append("key") or torch.ones(4)).tolist() == [1, 1, 1, 1]
    assert made == ["key", "key"]


def test_a_prompt_holds_no_patches():
    chat = Chat.load(BaseModelConfig().folder)
    picture = io.BytesIO()
    Image.new("RGB", (256, 256)).save(picture, "PNG")
    pixels = chat.pixels(picture.getvalue())
    first = pixels.patches()
    chat._patches = PatchCache(max_bytes=0)
    assert not any(isinstance(value, torch.Tensor) for value in vars(pixels).values())
    assert torch.equal(pixels.patches(), first)


def test_an_image_that_comes_again_is_prepared_once(monkeypatch):
    chat = Chat.load(BaseModelConfig().folder)
    prepared = []
    real = chat._prepared
    monkeypatch.setattr(chat, "_prepared", lambda image: prepared.append(image) or real(image))
    pixels = chat.pixels(scenes("distill")[0].images[0])
    assert pixels.patches() is pixels.patches()
    assert len(prepared) == 1
