"""Decoding images ahead: the same patches and errors as on demand, in bounded memory."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import Tensor

from tests.training.factory import scenes
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.modeling.ahead import DecodeAhead, example_pixels
from vicur.modeling.chat import Chat, Pixels
from vicur.modeling.tiny.architecture import tiny_image_processor, tiny_tokenizer


class Decoder:
    """Makes images whose decoding is counted, and blocked until :attr:`go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.threads: list[tuple[str, str]] = []  # key and thread of each decoding

    def image(self, key: str, error: Exception | None = None) -> Pixels:
        def patches() -> Tensor:
            self.threads.append((key, threading.current_thread().name))
            assert self.go.wait(20)
            if error is not None:
                raise error
            return torch.full((4, 3), float(ord(key)))

        return Pixels(key, patches, (1, 2, 2), 1)


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(tiny_tokenizer(["a"]), tiny_image_processor())


IMAGE_BYTES = 4 * (2 * 2) * 3 * tiny_image_processor().temporal_patch_size * tiny_image_processor().patch_size ** 2


def _until(condition: object) -> None:
    end = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.002)


def test_expected_images_are_decoded_once_in_a_thread(chat: Chat) -> None:
    decoder = Decoder()
    with DecodeAhead(chat, 2) as ahead:
        images = [ahead.watched(decoder.image(key)) for key in "abc"]
        ahead.expect(0, images)
        assert [float(image.patches()[0, 0]) for image in images] == [97.0, 98.0, 99.0]
    assert sorted(key for key, _ in decoder.threads) == ["a", "b", "c"]


def test_images_wait_for_room_and_the_rest_follows_as_they_are_taken(chat: Chat) -> None:
    decoder = Decoder()
    with DecodeAhead(chat, 1, max_bytes=2 * IMAGE_BYTES) as ahead:
        images = [ahead.watched(decoder.image(key)) for key in "abcd"]
        ahead.expect(0, images)
        _until(lambda: len(decoder.threads) == 2)
        time.sleep(0.02)
        assert [key for key, _ in decoder.threads] == ["a", "b"], "there is room for two"
        images[0].patches()
        _until(lambda: len(decoder.threads) == 3)
        assert decoder.threads[2] == ("c", decoder.threads[0][1])


def test_images_of_batches_that_are_over_give_their_room_back(chat: Chat) -> None:
    decoder = Decoder()
    with DecodeAhead(chat, 1, max_bytes=IMAGE_BYTES) as ahead:
        ahead.expect(0, [ahead.watched(decoder.image("a"))])
        ahead.expect(1, [ahead.watched(decoder.image("b"))])
        _until(lambda: len(decoder.threads) == 1)
        ahead.drop_before(1)
        _until(lambda: [key for key, _ in decoder.threads] == ["a", "b"])


def test_an_image_that_waits_for_a_thread_is_decoded_where_it_is_needed(chat: Chat) -> None:
    decoder = Decoder()
    decoder.go.clear()
    with DecodeAhead(chat, 1) as ahead:
        images = [ahead.watched(decoder.image(key)) for key in "ab"]
        ahead.expect(0, images)
        _until(lambda: len(decoder.threads) == 1)
        threading.Timer(0.05, decoder.go.set).start()
        assert float(images[1].patches()[0, 0]) == 98.0
        assert decoder.threads[1] == ("b", threading.current_thread().name)


def test_without_threads_or_announcement_images_are_decoded_on_demand(chat: Chat) -> None:
    decoder = Decoder()
    with DecodeAhead(chat, 0) as off, DecodeAhead(chat, 1) as on:
        for ahead in (off, on):
            image = ahead.watched(decoder.image("a"))
            if not ahead.active:
                ahead.expect(0, [image])
            assert float(image.patches()[0, 0]) == 97.0
    assert {thread for _, thread in decoder.threads} == {threading.current_thread().name}


def test_leaving_the_block_waits_for_nothing(chat: Chat) -> None:
    decoder = Decoder()
    decoder.go.clear()
    with DecodeAhead(chat, 1) as ahead:
        ahead.expect(0, [ahead.watched(decoder.image(key)) for key in "abc"])
        _until(lambda: len(decoder.threads) == 1)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    decoder.go.set()
    time.sleep(0.02)
    assert [key for key, _ in decoder.threads] == ["a"], "what had not begun was cancelled"


def test_an_error_is_raised_where_the_patches_are_needed(chat: Chat) -> None:
    decoder = Decoder()
    with DecodeAhead(chat, 1) as ahead:
        image = ahead.watched(decoder.image("a", VicurError("is damaged.", remedy="Replace it.")))
        ahead.expect(0, [image])
        _until(lambda: decoder.threads)
        with pytest.raises(VicurError, match="is damaged"):
            image.patches()


@pytest.mark.parametrize("threads", [0, 2])
def test_real_images_have_the_same_bits_and_damaged_ones_name_their_example(chat: Chat, threads: int) -> None:
    good = scenes("distill")[0]
    png = bytearray(good.images[0])
    png[len(png) // 2] ^= 255
    damaged = Example(**{**good.model_dump(), "id": "broken", "images": (bytes(png),)})
    expected = [image.patches() for image in example_pixels(chat, good)]
    fresh = Chat(chat.tokenizer, chat.image_processor)  # with an empty cache
    with DecodeAhead(fresh, threads) as ahead:
        images = example_pixels(fresh, good, ahead=ahead)
        ahead.expect(0, images)
        assert all(torch.equal(image.patches(), own) for image, own in zip(images, expected, strict=True))
        with pytest.raises(VicurError, match="example broken, images"):
            _decode(fresh, damaged, ahead)


def _decode(chat: Chat, example: Example, ahead: DecodeAhead) -> None:
    images = example_pixels(chat, example, ahead=ahead)
    ahead.expect(1, images)
    for image in images:
        image.patches()
