"""The model, questions and sampling that both engines are measured with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.data import DigitScenesConfig, Pool
from vicur.config.tiny_base import TinySizes
from vicur.data.digit_scenes import build_pools, vocabulary
from vicur.data.schema import Example
from vicur.modeling import save_model
from vicur.modeling.chat import Chat
from vicur.modeling.tiny.architecture import tiny_config, tiny_image_processor, tiny_tokenizer

LEARNING_RATE = 3e-4
_WORD = "sum"  # one token
SIZES = {
    96: TinySizes(),
    192: TinySizes(
        hidden_size=192, intermediate_size=512, heads=6, vision_hidden_size=128, vision_intermediate_size=256
    ),
}


@dataclass(frozen=True)
class Case:
    """The settings of a measurement."""

    folder: str  # a checkpoint with random weights, for student and teacher
    hint: bool  # whether the teacher's prompt contains the cue
    batch_size: int
    new_tokens: int  # length of each response
    steps: int  # steps that are measured
    warm_up: int  # steps before them
    words: int = 0  # added to each question
    images: int = 1  # of each question

    @property
    def all_steps(self) -> int:
        return self.warm_up + self.steps


class EndlessChat(Chat):
    """A chat that never samples the end of a turn, so that all responses have the same length."""

    def forbidden_ids(self, vocabulary: int) -> Tensor:
        return torch.cat([super().forbidden_ids(vocabulary), torch.tensor([self.end_id])]).sort().values


def questions(count: int) -> list[Example]:
    """Return questions about digit scenes, each with a different image."""
    scenes = DigitScenesConfig(distill=Pool(digits_per_class=4, scenes=count))
    about = {example.images: example for example in build_pools(scenes, seed=0)["distill"]}
    return list(about.values())[:count]


def questions_of(case: Case) -> list[Example]:
    """Return the questions of all steps, with the words and images that the case adds."""
    count = case.batch_size * case.all_steps
    scenes = questions(count + case.images - 1)
    return [
        scenes[number].model_copy(
            update={
                "images": tuple(scenes[number + other].images[0] for other in range(case.images)),
                "question": " ".join([scenes[number].question, *[_WORD] * case.words]),
            }
        )
        for number in range(count)
    ]


def save_checkpoint(folder: Path, hidden: int, vocab: int | None) -> int:
    """Write a checkpoint with random weights and return the size of its vocabulary."""
    tokenizer = tiny_tokenizer(vocabulary())
    # Unused words make a small vocabulary as large as a real one.
    if vocab is not None:
        tokenizer = tiny_tokenizer([*vocabulary(), *(f"filler{n}" for n in range(vocab - len(tokenizer)))])
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(tiny_config(tokenizer, SIZES[hidden]))
    save_model(model, folder)
    Chat(tokenizer, tiny_image_processor()).save(folder)
    return len(tokenizer)
