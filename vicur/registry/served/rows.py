"""Prompts from the rows of a request."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from vicur.config.serving import ModelLimits
from vicur.config.video import VideoConfig
from vicur.data.images import UnusableImageError
from vicur.errors import VicurError
from vicur.prompts import Content, ContentError, content_of
from vicur.registry.served.conversations import content_of_messages
from vicur.registry.served.files import Files
from vicur.registry.served.images import REMEDY, PixelBudget, checked_image, image_file, stored_image

if TYPE_CHECKING:
    from vicur.modeling.chat import Chat, Pixels, Prompt

COLUMNS = ("question", "image", "choices", "video", "messages")
"""Fields of a row."""
_VIDEO_REMEDY = (
    "Pass base64 text, the bytes of a video file, the name of a file in the folder of images, or a list of frames."
)


class RowReader:
    """Builds the prompts of the rows of one request."""

    def __init__(
        self, chat: Chat, sampling: VideoConfig, limits: ModelLimits, files: Files, max_prompt_tokens: int
    ) -> None:
        self._chat, self._sampling, self._limits, self._files = chat, sampling, limits, files
        self._max_prompt_tokens = max_prompt_tokens
        # Code that passes rows may pass any number of them; a request is limited as a whole.
        self._budget = PixelBudget(None if files.path_objects else limits.max_request_pixels)

    def prompt(self, row: Mapping[Any, Any]) -> Prompt:
        """Return the prompt of a row.

        Raises:
            VicurError: if the row is invalid; ``where`` is the field.
        """
        unknown = [name for name, value in row.items() if name not in COLUMNS and not _is_missing(value)]
        if unknown:
            raise VicurError(
                f"there is no field {str(unknown[0])[:60]!r}.", where="row", remedy=f"Use {', '.join(COLUMNS)}."
            )
        content, pixels = self._shown(row)
        self._require_text(content)
        prompt = self._chat.prompt(content, pixels)
        if len(prompt.ids) > self._max_prompt_tokens:
            raise VicurError(
                f"the prompt has {len(prompt.ids):,} tokens, but at most {self._max_prompt_tokens:,} are allowed (max_prompt_tokens).",
                where="row",
                remedy="Shorten the text, or scale the images down.",
            )
        return prompt

    def _shown(self, row: Mapping[Any, Any]) -> tuple[Content, list[Pixels]]:
        """Return what the prompt shows: its content, and images or the video."""
        if not _is_missing(messages := row.get("messages")):
            if others := [name for name in COLUMNS[:-1] if not _is_missing(row.get(name))]:
                raise VicurError("is there besides messages.", where=others[0], remedy="Pass one of them.")
            content, images = content_of_messages(messages, self._chat.prompts.system)
            return content, self._images(images)
        question = row.get("question")
        if not isinstance(question, str) or not question.strip():
            raise VicurError(
                "has no question.", where="question", remedy='Pass rows such as {"question": "...", "image": "..."}.'
            )
        images, choices = _items(row.get("image")), _items(row.get("choices"))
        video = row.get("video") if _items(row.get("video")) else None
        if video is not None and images:
            raise VicurError("is there besides images.", where="video", remedy="Pass one of them.")
        if not all(isinstance(choice, str) and choice.strip() for choice in choices):
            raise VicurError("is not a list of texts.", where="choices", remedy="Pass a list of texts.")
        self._require_text((question, *map(str, choices)))
        try:
            content = content_of(
                question,
                [*map(str, choices)],
                len(images),
                self._chat.prompts.choices_template,
                is_video=video is not None,
            )
        except ContentError as error:
            raise VicurError(f"{error.reason}.", where=error.field, remedy=error.remedy) from error
        return content, self._images(images) if video is None else [self._video(video)]

    def _require_text(self, content: Content) -> None:
        texts = [part for part in content if isinstance(part, str)]
        if sum(map(len, texts)) > self._limits.max_text:
            raise VicurError(
                f"has more than {self._limits.max_text:,} characters (max_text).",
                where="question",
                remedy="Shorten the text.",
            )
        # JSON can encode a lone surrogate (half of a character), which no tokenizer accepts.
        if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
            raise VicurError(
                "contains half a character (a lone surrogate).", where="question", remedy="Send valid Unicode."
            )

    def _images(self, images: list[object]) -> list[Pixels]:
        if len(images) > self._limits.max_images:
            raise VicurError(
                f"has {len(images):,} images, but at most {self._limits.max_images} are allowed (max_images).",
                where="image",
                remedy="Ask about fewer images.",
            )
        names = [f"image {number}" if len(images) > 1 else "image" for number in range(1, len(images) + 1)]
        return [self._image(image, name) for image, name in zip(images, names, strict=True)]

    def _image(self, image: object, where: str) -> Pixels:
        try:
            data = stored_image(image, self._files, self._limits, self._budget)
            return self._chat.pixels(data, "evaluation")
        except UnusableImageError as error:
            raise VicurError(f"{error.reason}.", where=where, remedy=error.remedy) from error
        except VicurError as error:
            raise VicurError(error.problem, where=where, remedy=REMEDY) from error
        except ValueError as error:
            raise VicurError(f"{error}.", where=where, remedy=REMEDY) from error

    def _video(self, video: object) -> Pixels:
        from vicur.data.video import UnusableVideoError, sampled_file, sampled_images

        fps = video.get("fps") if isinstance(video, Mapping) else None
        frames = video.get("frames") if isinstance(video, Mapping) else video
        pixels = self._limits.max_image_pixels
        try:
            if is_list(frames):
                listed = _items(frames)
                if len(listed) > self._limits.max_frames:
                    raise ValueError(f"has {len(listed):,} frames, but at most {self._limits.max_frames:,} are allowed")
                reads = [partial(checked_image, frame, self._files, self._limits, self._budget) for frame in listed]
                sampled = sampled_images(reads, self._sampling, pixels, None if fps is None else _rate(fps))
            else:
                sampled = sampled_file(image_file(frames, self._files, self._limits), self._sampling, pixels)
            return self._chat.video_pixels(sampled.frames, sampled.timestamps, "evaluation")
        except (UnusableVideoError, UnusableImageError) as error:
            raise VicurError(f"{error.reason}.", where="video", remedy=error.remedy) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise VicurError(f"cannot be read ({reason}).", where="video", remedy=_VIDEO_REMEDY) from error


def _rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1000 or math.isnan(value):
        raise ValueError("fps is not between 0 and 1000")
    return float(value)


def is_list(cell: object) -> bool:
    """Return whether a cell holds several values. An array of numbers is one image; of four dimensions, several."""
    if type(cell).__name__ == "ndarray":
        return bool(cell.dtype == object or cell.ndim not in (2, 3) or cell.dtype.kind in "SU")  # type: ignore[attr-defined]
    return isinstance(cell, list | tuple)


def _is_missing(cell: object) -> bool:
    # pandas represents a missing cell as NaN, which is not equal to itself.
    return cell is None or (isinstance(cell, float) and cell != cell)


def _items(cell: object) -> list[object]:
    if _is_missing(cell):
        return []
    return list(cell) if is_list(cell) else [cell]  # type: ignore[call-overload]
