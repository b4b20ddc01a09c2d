"""What a training reads: questions with the hint that their teacher gets, and the order in which they are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vicur.config.training import TrainConfig
from vicur.cues.hints import hint_for, with_hint
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.modeling.chat import Chat, Pixels, Prompt
from vicur.seeds import numpy_generator
from vicur.training.supervised import reference_response


@dataclass(frozen=True, eq=False)
class TrainingExample:
    """An example and what it is taught with.

    Attributes:
        example: the question and its answer.
        student: the prompt that the student answers.
        teacher: the same with the hint; without a privilege, the same.
        reference: token ids of the response that supervised training teaches; empty for other objectives.
    """

    example: Example
    student: Prompt
    teacher: Prompt
    reference: tuple[int, ...] = ()


def training_examples(
    examples: Sequence[Example], cues: dict[str, str], chat: Chat, config: TrainConfig
) -> tuple[list[TrainingExample], dict[str, str]]:
    """Builds what each example is taught with.

    Args:
        examples: the distillation pool.
        cues: extracted cues by example id.
        chat: the student's chat.
        config: settings of the training.

    Returns:
        The examples that can be taught, and why each of the others was skipped, by example id.

    Raises:
        VicurError: where more are skipped than ``max_unhinted_share``, or none is left.
    """
    kept: list[TrainingExample] = []
    skipped: dict[str, str] = {}
    images = PixelStore(chat)
    for example in examples:
        made = _training_example(example, cues.get(example.id), images, chat, config)
        if isinstance(made, TrainingExample):
            kept.append(made)
        else:
            skipped[example.id] = made
    if not kept or len(skipped) > config.max_unhinted_share * len(examples):
        first = "; ".join(f"{key} {reason}" for key, reason in list(skipped.items())[:3])
        raise VicurError(
            f"{len(skipped)} of {len(examples)} distillation examples cannot be used ({first or 'there are none'}).",
            where=f"training, method {config.method}",
            remedy="Add what is missing, choose another method, privilege or cue provider, or raise max_unhinted_share, "
            "max_prompt_tokens or rollout.max_new_tokens.",
        )
    return kept, skipped


def _training_example(
    example: Example, cue: str | None, images: PixelStore, chat: Chat, config: TrainConfig
) -> TrainingExample | str:
    """The example with its prompts, or why it cannot be taught."""
    method = config.effective
    hint = hint_for(method.privilege, example, cue)
    if hint is None and method.privilege != "none":
        return f"has no {method.privilege} to hint with"
    reference: tuple[int, ...] = ()
    if method.objective.type == "supervised":
        text = reference_response(example)
        if text is None:
            return "has neither a reference response nor a rationale to make one of"
        reference = tuple(chat.encode_response(text))
        if len(reference) > config.rollout.max_new_tokens:
            return (
                f"reference has {len(reference)} tokens, above rollout.max_new_tokens = {config.rollout.max_new_tokens}"
            )
    if config.trained.type == "recovery" and not example.images:
        return "has no image, and the cue recovery module alone learns from nothing else"
    pixels = images.of(example)
    student = chat.prompt(example.question, pixels)
    teacher = student if hint is None else chat.prompt(with_hint(example.question, hint), pixels)
    if len(teacher.ids) > config.max_prompt_tokens:
        return f"prompt has {len(teacher.ids)} tokens, above max_prompt_tokens = {config.max_prompt_tokens}"
    return TrainingExample(example, student, teacher, reference)


class PixelStore:
    """Looks at each distinct image once. What it holds of one is small: patches are made when they are needed."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._known: dict[bytes, Pixels] = {}

    def of(self, example: Example) -> tuple[Pixels, ...]:
        """The prepared images of an example.

        Raises:
            VicurError: naming the example, where an image cannot be read.
        """
        for image in example.images:
            if image not in self._known:
                try:
                    self._known[image] = self._chat.pixels(image)
                except VicurError as error:
                    raise VicurError(
                        error.problem, where=f"example {example.id}, images", remedy=error.remedy
                    ) from error
        return tuple(self._known[image] for image in example.images)


def batch_rows(count: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Rows of batch ``step`` (from 0): epochs of ``count`` rows, each in an order of its own, laid end to end.

    A function of the step alone, so that a resumed training draws what an uninterrupted one would.
    """
    places = range(step * batch_size, (step + 1) * batch_size)
    orders = {epoch: _epoch_order(count, seed, epoch) for epoch in {place // count for place in places}}
    return [int(orders[place // count][place % count]) for place in places]


def _epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    return numpy_generator(seed, "data", "epoch", epoch).permutation(count)
