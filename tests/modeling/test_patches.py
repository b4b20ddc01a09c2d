"""Patches are made on demand, because those of a dataset would take a hundred times its memory."""

import io

import torch
from PIL import Image

from tests.training.factory import scenes
from vicur.config.base import BaseModelConfig
from vicur.modeling.chat import Chat
from vicur.modeling.patches import PatchCache


def test_least_recently_used_patches_are_evicted_and_made_again():
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


def test_patches_larger_than_the_cache_are_returned_but_not_cached():
    cache, made = PatchCache(max_bytes=8), []
    for _ in range(2):
        assert cache.get("key", lambda: made.append("key") or torch.ones(4)).tolist() == [1, 1, 1, 1]
    assert made == ["key", "key"]


def test_pixels_hold_no_patches_themselves():
    chat = Chat.load(BaseModelConfig().folder)
    picture = io.BytesIO()
    Image.new("RGB", (256, 256)).save(picture, "PNG")
    pixels = chat.pixels(picture.getvalue())
    first = pixels.patches()
    chat._patches = PatchCache(max_bytes=0)
    assert not any(isinstance(value, torch.Tensor) for value in vars(pixels).values())
    assert torch.equal(pixels.patches(), first)


def test_an_image_is_processed_once(monkeypatch):
    chat = Chat.load(BaseModelConfig().folder)
    processed = []
    real = chat._prepared
    monkeypatch.setattr(chat, "_prepared", lambda image: processed.append(image) or real(image))
    pixels = chat.pixels(scenes("distill")[0].images[0])
    assert pixels.patches() is pixels.patches()
    assert len(processed) == 1
