"""Patches are made on demand, because those of a dataset would take a hundred times its memory."""

import io

import pytest
import torch
from PIL import Image

from tests.training.factory import scenes
from vicur.config.base import BaseModelConfig
from vicur.errors import VicurError
from vicur.modeling import pixels
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
    found = chat.pixels(picture.getvalue())
    first = found.patches()
    chat._reader._patches = PatchCache(max_bytes=0)
    assert not any(isinstance(value, torch.Tensor) for value in vars(found).values())
    assert torch.equal(found.patches(), first)


def test_an_image_is_decoded_once_and_only_when_its_patches_are_needed(monkeypatch):
    decoded = []
    real = pixels.plain_image
    monkeypatch.setattr(pixels, "plain_image", lambda image: decoded.append(image) or real(image))
    image = Chat.load(BaseModelConfig().folder).pixels(scenes("distill")[0].images[0])
    assert image.grid
    assert not decoded
    assert image.patches() is image.patches()
    assert len(decoded) == 1


def test_damage_below_the_header_is_reported_when_the_patches_are_needed():
    picture = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(picture, "PNG")
    image = Chat.load(BaseModelConfig().folder).pixels(picture.getvalue()[:-200])
    with pytest.raises(VicurError, match="the image cannot be used: it is a damaged image"):
        image.patches()


def test_only_stored_images_are_accepted():
    chat = Chat.load(BaseModelConfig().folder)
    for image, format_ in ((Image.new("RGBA", (64, 64)), "PNG"), (Image.new("RGB", (64, 64)), "GIF")):
        picture = io.BytesIO()
        image.save(picture, format_)
        with pytest.raises(VicurError, match="the image cannot be used: it is"):
            chat.pixels(picture.getvalue())
