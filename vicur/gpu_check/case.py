"""A measured step: its settings, its questions, and the plan for it."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from vicur.config.section import Section
from vicur.config.training import TrainConfig
from vicur.data.schema import Example
from vicur.modeling.chat import Chat
from vicur.planning import PlanInput
from vicur.training.examples import TrainingExample, training_example

_CUE = "red digit 7 left of blue digit 3"
_WORD = "the"


class Case(Section):
    """Settings of a measurement."""

    shape: str
    """Shape of the student."""
    folder: Path
    """Checkpoint of that shape, for student and teacher."""
    device: Literal["cpu", "cuda"] = "cuda"
    """Device of each process."""
    processes: int = Field(default=1, ge=1)
    """Processes, each with one GPU."""
    prompt: int = Field(default=2048, ge=1)
    """Tokens of the longest prompt, which is the teacher's with its hint."""
    response: int = Field(default=1024, ge=1)
    """Tokens of each response."""
    image: int = Field(default=392, ge=1)
    """Visual tokens of the image, approximately."""
    rows: int = Field(default=8, ge=1)
    """Prompts per process and step."""
    validation: int = Field(default=0, ge=0)
    """Questions of a validation, answered at once; 0 for none."""
    steps: int = Field(default=2, ge=1)
    """Measured steps."""
    warm_up: int = Field(default=1, ge=0)
    """Steps before them."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Settings of the training that differ from those of a run: precision, strategy, micro-batch, teacher, trained weights."""

    def config(self) -> TrainConfig:
        """Return the settings of the training."""
        return TrainConfig.model_validate({"method": "vicur", **self._settings()})

    def _settings(self) -> dict[str, Any]:
        return {
            "batch_size": self.rows * self.processes,
            "max_prompt_tokens": self.prompt,
            "rollout": {"max_new_tokens": self.response},
            "features": {"disk_gb": 0},
            "device": self.device,
            **self.training,
        }

    def examples(self, chat: Chat, count: int, first: int = 0) -> list[TrainingExample]:
        """Return ``count`` examples, each with a different image and a prompt of exactly the planned length."""
        config = self.config()
        words, built = self.prompt, None
        # One word is one token. The rest of the prompt has always the same length.
        for _ in range(3):
            assert words > 0, f"a prompt of {self.prompt} tokens has no room for image and hint"
            built = training_example(self._example(chat, 0, words), _CUE, chat, self._with_room(config))
            assert isinstance(built, TrainingExample), built
            words += self.prompt - max(len(built.student.ids), len(built.teacher.ids))
        rows = [training_example(self._example(chat, first + n, words), _CUE, chat, config) for n in range(count)]
        for row in rows:
            # A measurement of fewer rows would be one of something else.
            assert isinstance(row, TrainingExample), f"a question of the measurement {row}"
        return rows  # type: ignore[return-value]

    def plan(self, **fields: Any) -> PlanInput:
        """Return the plan's input for this measurement."""
        from vicur.config.run import RunConfig
        from vicur.planning import plan_input

        config = self.config()
        settings = {name: value for name, value in self._settings().items() if name != "method"}
        run = RunConfig.model_validate(
            {"base": {"path": str(self.folder)}, "methods": [config.method], "training": settings}
        )
        chosen: Mapping[str, Any] = {
            "gpus": self.processes,
            "image_tokens": self.image,
            "examples": self.rows * self.processes * (self.steps + self.warm_up),
            "validation_examples": self.validation * self.processes,
            "validation_batch_size": self.validation or None,
            "steps": self.steps,
            "mean_prompt_tokens": self.prompt,
            "mean_response_tokens": self.response,
            "device": self.device,
            **({"teacher_gpus": self.processes} if config.distribution.teacher_devices == "separate" else {}),
            **fields,
        }
        return plan_input(run, config.method, assumed=chosen)

    @staticmethod
    def _with_room(config: TrainConfig) -> TrainConfig:
        return config.model_copy(update={"max_prompt_tokens": 10**6})

    def _example(self, chat: Chat, number: int, words: int) -> Example:
        return Example(
            id=f"question-{number}",
            images=(self._png(chat, number),),
            question=" ".join([_WORD] * words),
            answer="7",
            cue=_CUE,
            source="gpu-check",
            split="distill",
        )

    def _png(self, chat: Chat, number: int) -> bytes:
        # Close to a square with the wanted number of visual tokens.
        height = max(1, round(self.image**0.5))
        width = max(1, self.image // height)
        side = int(chat.pixels_of(1) ** 0.5)
        noise = np.random.default_rng(number).integers(0, 255, (height * side, width * side, 3), dtype=np.uint8)
        file = BytesIO()
        Image.fromarray(noise).save(file, "PNG")
        return file.getvalue()
