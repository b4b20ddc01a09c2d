"""Decode images before they are needed, in threads: Pillow and numpy release the interpreter lock while they work.

The patches are those that decoding on demand gives, bit for bit. An image that cannot be decoded raises its error where its patches are
needed, not in the thread.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from types import TracebackType
from typing import TypeVar

from torch import Tensor

from vicur.config.prompts import PromptUse
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.modeling.chat import Chat, Pixels

T = TypeVar("T")

AHEAD_BYTES = 512 << 20
"""Patches that may wait to be used. They come on top of those in the cache of patches."""


@dataclass
class _Expected:
    """An image whose patches will be needed."""

    batch: int
    pixels: Pixels
    size: int
    future: Future[Tensor] | None = None  # once its decoding has begun, or waits for a thread


class DecodeAhead:
    """Threads that decode the images of coming batches. Without threads, every image is decoded when it is needed.

    Images are decoded in the order in which they are announced, as long as less than ``max_bytes`` wait to be used.
    """

    def __init__(self, chat: Chat, threads: int, max_bytes: int = AHEAD_BYTES) -> None:
        processor = chat.image_processor
        # Channels, frames, rows and columns of a patch, in float32.
        self._patch_bytes = 4 * 3 * processor.temporal_patch_size * processor.patch_size**2
        self._left = max_bytes
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode") if threads else None
        self._expected: OrderedDict[str, _Expected] = OrderedDict()
        self._lock = Lock()

    def __enter__(self) -> DecodeAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            # What has begun takes milliseconds; a training that was stopped must not wait for the rest.
            self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def active(self) -> bool:
        """Whether there are threads."""
        return self._pool is not None

    def watched(self, pixels: Pixels) -> Pixels:
        """Return the same image, whose patches come from here if they were decoded ahead."""
        return pixels if self._pool is None else replace(pixels, patches=_Take(self, pixels))

    def expect(self, batch: int, images: Iterable[Pixels]) -> None:
        """Announce the images of a batch, in the order of their use. Those that are not :meth:`watched` are ignored."""
        with self._lock:
            for image in images:
                if isinstance(image.patches, _Take) and image.key not in self._expected:
                    size = math.prod(image.grid) * self._patch_bytes
                    self._expected[image.key] = _Expected(batch, image.patches.pixels, size)
            self._submit()

    def drop_before(self, batch: int) -> None:
        """Forget the images of earlier batches: nothing will need their patches again, or only for those in the cache."""
        with self._lock:
            for key in [key for key, expected in self._expected.items() if expected.batch < batch]:
                self._forget(key)
            self._submit()

    def take(self, pixels: Pixels) -> Tensor:
        """Return the patches of an image, waiting for them if they are being decoded."""
        with self._lock:
            expected = self._expected.get(pixels.key)
            future = None if expected is None else expected.future
            # A future that has not begun is decoded here rather than behind others.
            if expected is not None and (future is None or future.cancel()):
                future = None
                self._forget(pixels.key)
        if future is None:
            return pixels.patches()
        try:
            return future.result()
        finally:
            with self._lock:
                self._forget(pixels.key)
                self._submit()

    def _forget(self, key: str) -> None:
        expected = self._expected.pop(key, None)
        if expected is not None and expected.future is not None:
            expected.future.cancel()
            self._left += expected.size

    def _submit(self) -> None:
        """Start as many of the expected images as there is room for."""
        if self._pool is None:
            return
        for expected in self._expected.values():
            if expected.future is not None:
                continue
            if expected.size > self._left:
                return
            try:
                expected.future = self._pool.submit(expected.pixels.patches)
            except RuntimeError:  # after the end of the block
                return
            self._left -= expected.size


class _Take:
    """The patches of an image, from the threads that decode ahead."""

    def __init__(self, ahead: DecodeAhead, pixels: Pixels) -> None:
        self._ahead = ahead
        self.pixels = pixels

    def __call__(self) -> Tensor:
        return self._ahead.take(self.pixels)


def example_pixels(
    chat: Chat, example: Example, use: PromptUse = "student", ahead: DecodeAhead | None = None
) -> tuple[Pixels, ...]:
    """Return the images of an example for its prompts, or its video, in the pixel budget of a use.

    Raises:
        VicurError: if an image cannot be read, now or once its patches are needed; the message names the example.
    """
    images = []
    video = example.video
    reads = (
        [partial(chat.pixels, image, use) for image in example.images]
        if video is None
        else [partial(chat.video_pixels, example.images, video.timestamps, use)]
    )
    for read in reads:
        pixels = _naming(example.id, read)
        pixels = replace(pixels, patches=partial(_naming, example.id, pixels.patches))
        images.append(pixels if ahead is None else ahead.watched(pixels))
    return tuple(images)


def _naming(example_id: str, function: Callable[[], T]) -> T:
    try:
        return function()
    except VicurError as error:
        # Only the caller knows which example an image belongs to.
        raise VicurError(error.problem, where=f"example {example_id}, images", remedy=error.remedy) from error
