"""What both engines are measured on: one model, one set of questions, one way to sample."""

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
SIZES = {
    96: TinySizes(),
    192: TinySizes(
        hidden_size=192, intermediate_size=512, heads=6, vision_hidden_size=128, vision_intermediate_size=256
    ),
}


@dataclass(frozen=True)
class Case:
    """A measurement.

    Attributes:
        folder: a checkpoint with random weights: student, and teacher as well.
        hint: whether the teacher's prompt holds the cue.
        batch_size: prompts a step, with a response each.
        new_tokens: tokens of each response.
        steps: steps that count.
        warm_up: steps before them.
    """

    folder: str
    hint: bool
    batch_size: int
    new_tokens: int
    steps: int
    warm_up: int

    @property
    def all_steps(self) -> int:
        """Steps to be made."""
        return self.warm_up + self.steps


class EndlessChat(Chat):
    """A chat in which no turn is ended, so that every response has the same length."""

    def forbidden_ids(self, vocabulary: int) -> Tensor:
        """Those of the checkpoint's chat, and the end of a turn."""
        return torch.cat([super().forbidden_ids(vocabulary), torch.tensor([self.end_id])]).sort().values


def questions(count: int) -> list[Example]:
    """Questions about digit scenes, each about an image of its own: as many as a measurement needs."""
    scenes = DigitScenesConfig(distill=Pool(digits_per_class=4, scenes=count))
    about = {example.images: example for example in build_pools(scenes, seed=0)["distill"]}
    return list(about.values())[:count]


def save_checkpoint(folder: Path, hidden: int, vocab: int | None) -> int:
    """Writes a checkpoint of the given width; the vocabulary is filled up with words that no text holds.

    Returns:
        Tokens of its vocabulary.
    """
    tokenizer = tiny_tokenizer(vocabulary())
    if vocab is not None:
        tokenizer = tiny_tokenizer([*vocabulary(), *(f"filler{n}" for n in range(vocab - len(tokenizer)))])
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(tiny_config(tokenizer, SIZES[hidden]))
    save_model(model, folder)
    Chat(tokenizer, tiny_image_processor()).save(folder)
    return len(tokenizer)
