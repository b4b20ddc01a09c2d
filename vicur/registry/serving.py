"""A registered student as an MLflow model that answers questions about images.

MLflow copies this file into the model ("models from code") and runs it when the model is loaded::

    import mlflow
    student = mlflow.pyfunc.load_model("models:/vicur-student@champion")
    student.predict([{"question": "What is the sum of the left column?", "image": "scene.png"}])

``image`` is the bytes of an image file, base64 text (with or without the prefix ``data:image/png;base64,``), a PIL image, a uint8 array
(height, width, channels), a file, a list of these, or missing. It is read as ``vicur data prepare`` reads images: a photo is turned as its
EXIF data say, for example. Markers in the question (``<image 1>``) are the places of the images, as in training; without any, images come
first. ``choices`` is a list of texts, or missing.

``video``, instead of ``image``, is a video file, given like an image; a list of frames, two per second; or ``{"frames": [...], "fps": 1}``.
Its frames are sampled as ``vicur data prepare`` did, and ``<video>`` in the question is its place. A file needs PyAV.

``messages``, instead of all of these, is one user message in the form of OpenAI's chat completions.

The result is a table with the columns ``answer`` (``None`` if the response states no answer), ``response``, and ``error``: why the row was
not asked, else ``None``. A row with an error does not affect others. Decoding is that of the student's evaluation, unless ``params``
changes it.

A text names a file only below the folder ``image_folder`` (in ``model_config``; by default the working directory). In
``mlflow models serve`` it names none, unless ``VICUR_SERVE_FOLDER`` is set. Addresses are never fetched. ``limits`` in ``model_config``
changes the limits (``vicur.config.serving.ModelLimits``), ``VICUR_SERVE_LIMITS`` those of a server.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

if TYPE_CHECKING:
    from vicur.registry.served import Files, ServedStudent

# The package as of the registration, in the folder of the model. Python imports it from the file.
_CODE = Path(__file__).with_name("code") / "vicur.zip"
if _CODE.is_file():
    sys.path.insert(0, str(_CODE))

CHECKPOINT = "checkpoint"


class StudentModel(PythonModel):
    """Answers questions with the student of the model's ``checkpoint`` artifact."""

    student: ServedStudent
    files: Files

    def load_context(self, context: PythonModelContext) -> None:
        """Load the student, on the GPU if there is one."""
        from vicur.config.prompts import PromptConfig
        from vicur.config.serving import ModelLimits
        from vicur.config.validation import validated
        from vicur.config.video import VideoConfig
        from vicur.registry.served import Files, ServedStudent
        from vicur.registry.served.mlflow_server import guard_scoring_server, is_server_process, require_settings
        from vicur.registry.weights import complete

        if is_server_process():
            require_settings()
        settings = context.model_config or {}
        self.files = Files(Path(settings.get("image_folder") or "."), path_objects=True)
        checkpoint = Path(context.artifacts[CHECKPOINT])
        # Of the folder of the model, which contains artifacts/checkpoint. Its weights may be elsewhere.
        complete(checkpoint.parents[1], checkpoint)
        self.student = ServedStudent(
            checkpoint,
            settings["decoding"],
            # The system message and the layout of choices of the evaluation.
            PromptConfig.model_validate(settings.get("prompts") or {}),
            VideoConfig.model_validate(settings.get("video") or {}),
            validated(ModelLimits, settings.get("limits") or {}, "model_config, limits"),
        )
        if is_server_process():
            guard_scoring_server(self.student)

    def predict(
        self,
        context: PythonModelContext | None,  # noqa: ARG002 (MLflow passes it by this name)
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Answer the questions of a table with the columns ``question``, ``image``, ``choices``, ``video`` and ``messages``.

        ``params`` may change ``temperature``, ``top_p``, ``top_k``, ``presence_penalty``, ``max_new_tokens``, ``seed`` and
        ``batch_size``.

        Raises:
            VicurError: if a parameter is unknown or out of bounds, or no field of the rows is known.
        """
        from vicur.errors import VicurError

        table = pd.DataFrame(model_input)
        # MLflow drops unknown columns, and then the rows: those of plain texts, for example.
        if not len(table.columns):
            raise VicurError(
                "there is no field that the model knows.",
                where="rows",
                remedy='Pass rows such as {"question": "...", "image": "..."}.',
            )
        rows = _one_conversation(table.to_dict("records"))
        answers = self.student.answer(rows, params or {}, self.files)
        return pd.DataFrame(
            [(each.answer, each.response, each.error) for each in answers],
            columns=["answer", "response", "error"],
            dtype=object,
        )


def _one_conversation(rows: list[dict[Any, Any]]) -> list[dict[Any, Any]]:
    """Join the messages of ``{"messages": [...]}``, of which MLflow makes a row each."""
    messages = [row.get("messages") for row in rows]
    if rows and all(isinstance(each, Mapping) for each in messages):
        return [{"messages": messages}]
    return rows


mlflow.models.set_model(StudentModel())
