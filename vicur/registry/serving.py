"""A registered student as an MLflow model that answers questions about images.

MLflow copies this file into the model ("models from code") and runs it when the model is loaded::

    import mlflow
    student = mlflow.pyfunc.load_model("models:/vicur-student@champion")
    student.predict([{"question": "What is the sum of the left column?", "image": "scene.png"}])

``image`` is a path, base64 text (with or without the prefix ``data:image/png;base64,``), the bytes of an image file, a list
of these, or missing. It is read as ``vicur data prepare`` reads images: a photo is turned as its EXIF data say, for example.
Markers in the question (``<image 1>``) are the places of the images, as in training; without any, images come first.
``choices`` is a list of texts, or missing.

``video``, instead of ``image``, is a video file, given like an image; a list of frames, two per second; or ``{"frames": [...], "fps": 1}``.
Its frames are sampled as ``vicur data prepare`` did, and ``<video>`` in the question is its place. A file needs PyAV.

The result is a table with the columns ``answer`` (``None`` if the response states no answer) and
``response``. Decoding is that of the student's evaluation, unless ``params`` changes it.

Paths are opened by the serving process. A server that untrusted clients can reach should accept only base64 text
(``VICUR_SERVE_PATHS=0``).
"""

from __future__ import annotations

import base64
import binascii
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

if TYPE_CHECKING:
    from vicur.modeling.chat import Pixels

# The package as of the registration, in the folder of the model. Python imports it from the file.
_CODE = Path(__file__).with_name("code") / "vicur.zip"
if _CODE.is_file():
    sys.path.insert(0, str(_CODE))

CHECKPOINT = "checkpoint"
_REMEDY = "Pass a path, base64 text, or the bytes of an image file."
_VIDEO_REMEDY = "Pass a path, base64 text, the bytes of a video file, or a list of frames."
_MAX_PIXELS = 64_000_000
"""Largest image, as in ``data.max_pixels``."""


class StudentModel(PythonModel):
    """Answers questions with the student of the model's ``checkpoint`` artifact."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the student, on the GPU if there is one."""
        import torch

        from vicur.config.prompts import PromptConfig
        from vicur.config.video import VideoConfig
        from vicur.modeling import load_model
        from vicur.modeling.chat import Chat

        folder = Path(context.artifacts[CHECKPOINT])
        settings = context.model_config or {}
        # The system message and the layout of choices of the evaluation.
        self._chat = Chat.load(folder, PromptConfig.model_validate(settings.get("prompts") or {}))
        self._model = load_model(folder, device="cuda" if torch.cuda.is_available() else "cpu")
        self._decoding: dict[str, Any] = dict(settings["decoding"])
        self._sampling = VideoConfig.model_validate(settings.get("video") or {})

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 (MLflow passes it by this name)
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Answer the questions of a table with the columns ``question``, ``image`` and ``choices``.

        ``params`` may change ``temperature``, ``top_p``, ``top_k``, ``presence_penalty``, ``max_new_tokens``, ``seed`` and
        ``batch_size``.

        Raises:
            VicurError: if a question, its choices or an image is invalid; the message names the row.
        """
        from vicur.answers import extract_answer
        from vicur.config.sampling import Sampling
        from vicur.config.validation import validated
        from vicur.modeling.generation import generate

        # MLflow passes None for parameters without a value.
        chosen = {name: value for name, value in (params or {}).items() if value is not None}
        seed, batch_size = int(chosen.pop("seed", 0)), int(chosen.pop("batch_size", 32))
        sampling: Sampling = validated(Sampling, {**self._decoding, **chosen}, "params")
        rows = pd.DataFrame(model_input).to_dict("records")
        prompts = [self._prompt(row, number) for number, row in enumerate(rows)]
        answers = generate(
            self._model, self._chat, prompts, sampling, seed=seed, batch_size=batch_size, fit_memory=True
        )
        return pd.DataFrame(
            {"answer": [extract_answer(a.text) for a in answers], "response": [a.text for a in answers]}, dtype=object
        )

    def _prompt(self, row: Mapping[Any, Any], number: int) -> Any:
        from vicur.errors import VicurError
        from vicur.prompts import ContentError, content_of

        question = row.get("question")
        if not isinstance(question, str) or not question.strip():
            raise VicurError("has no question.", where=f"row {number}, question", remedy="Pass the question as text.")
        images, choices = _items(row.get("image")), _items(row.get("choices"))
        video = row.get("video") if _items(row.get("video")) else None
        if video is not None and images:
            raise VicurError("is there besides images.", where=f"row {number}, video", remedy="Pass one of them.")
        if not all(isinstance(choice, str) and choice.strip() for choice in choices):
            raise VicurError("is not a list of texts.", where=f"row {number}, choices", remedy="Pass a list of texts.")
        try:
            content = content_of(
                question,
                [*map(str, choices)],
                len(images),
                self._chat.prompts.choices_template,
                is_video=video is not None,
            )
        except ContentError as error:
            raise VicurError(f"{error.reason}.", where=f"row {number}, {error.field}", remedy=error.remedy) from error
        if video is not None:
            return self._chat.prompt(content, [self._video(video, number)])
        return self._chat.prompt(content, [self._pixels(image, number) for image in images])

    def _video(self, video: object, number: int) -> Pixels:
        from vicur.data.video import UnusableVideoError, sampled_file, sampled_images
        from vicur.errors import VicurError

        where = f"row {number}, video"
        fps = video.get("fps") if isinstance(video, Mapping) else None
        frames = video.get("frames") if isinstance(video, Mapping) else video
        try:
            if _is_list(frames):
                reads = [partial(image_bytes, frame) for frame in _items(frames)]
                sampled = sampled_images(reads, self._sampling, _MAX_PIXELS, None if fps is None else _rate(fps))
            else:
                sampled = sampled_file(image_bytes(frames), self._sampling, _MAX_PIXELS)
            return self._chat.video_pixels(sampled.frames, sampled.timestamps, "evaluation")
        except UnusableVideoError as error:
            raise VicurError(f"{error.reason}.", where=where, remedy=error.remedy) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise VicurError(f"cannot be read ({reason}).", where=where, remedy=_VIDEO_REMEDY) from error

    def _pixels(self, image: object, number: int) -> Pixels:
        from vicur.data.images import UnusableImageError, normalised
        from vicur.errors import VicurError

        where = f"row {number}, image"
        try:
            return self._chat.pixels(normalised(image_bytes(image), _MAX_PIXELS).data, "evaluation")
        except UnusableImageError as error:
            raise VicurError(f"{error.reason}.", where=where, remedy=error.remedy) from error
        except VicurError as error:
            raise VicurError(error.problem, where=where, remedy=_REMEDY) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise VicurError(f"cannot be read ({reason}).", where=where, remedy=_REMEDY) from error


def _is_list(cell: object) -> bool:
    return isinstance(cell, list | tuple) or type(cell).__name__ == "ndarray"


def _rate(value: Any) -> float:
    rate = float(value)
    if not 0 < rate <= 1000:
        raise ValueError("fps is not between 0 and 1000")
    return rate


def _items(cell: object) -> list[object]:
    # pandas represents a missing cell as NaN, which is not equal to itself.
    if cell is None or (isinstance(cell, float) and cell != cell):
        return []
    return list(cell) if _is_list(cell) else [cell]  # type: ignore[call-overload]


def image_bytes(image: object) -> bytes:
    """Return the encoded image for a path, base64 text or bytes.

    Raises:
        ValueError: if ``image`` is of another type, or neither a path nor base64 text.
        OSError: if the file cannot be read.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, os.PathLike):
        return Path(image).read_bytes()
    if not isinstance(image, str):
        raise ValueError(f"{type(image).__name__} is not an image")
    # A data URI has a media type before the comma and base64 text after it.
    if image.startswith("data:"):
        return _decoded(image.partition(",")[2])
    # Short text may be a path. The base64 text of an image is longer than any path.
    if len(image) < 4096 and os.environ.get("VICUR_SERVE_PATHS") != "0":
        try:
            return Path(image).read_bytes()
        except FileNotFoundError:
            return _decoded(image, otherwise="no such file, and not base64 text")
    return _decoded(image)


def _decoded(text: str, otherwise: str = "not base64 text") -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(otherwise) from error


mlflow.models.set_model(StudentModel())
