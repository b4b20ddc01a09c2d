"""The examples of a training with their prompts, and the order of its batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vicur.config.prompts import PromptUse
from vicur.config.training import TrainConfig
from vicur.cues.hints import hint_for, with_hint
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.modeling.chat import Chat, Pixels, Prompt
from vicur.prompts import answer_text
from vicur.seeds import numpy_generator
from vicur.wording import listed

_ROUNDED = 16  # visual tokens


@dataclass(frozen=True, eq=False)
class TrainingExample:
    """An example with its prompts."""

    example: Example
    student: Prompt
    teacher: Prompt  # with the hint; the student's prompt if there is no privilege
    reference: tuple[int, ...] = ()  # token ids of the reference response, if the objective learns from it


def training_examples(
    examples: Sequence[Example], cues: dict[str, str], chat: Chat, config: TrainConfig
) -> tuple[list[TrainingExample], dict[str, str]]:
    """Build the prompts of all examples, given their cues by example id.

    Returns:
        The usable examples, and the reason why each of the others was skipped, by example id.

    Raises:
        VicurError: if more than ``max_unhinted_share`` are skipped, or all of them.
    """
    usable: list[TrainingExample] = []
    skipped: dict[str, str] = {}
    images = PixelStore(chat)
    for example in examples:
        result = _training_example(example, cues.get(example.id), images, chat, config)
        if isinstance(result, TrainingExample):
            usable.append(result)
        else:
            skipped[example.id] = result
    if not usable or len(skipped) > config.max_unhinted_share * len(examples):
        reasons = listed((f"{key} {reason}" for key, reason in skipped.items()), shown=3, separator="; ")
        raise VicurError(
            f"{len(skipped)} of {len(examples)} distillation examples cannot be used ({reasons or 'the split distill is empty'}).",
            where=f"training, method {config.method}",
            remedy="Add the missing data, choose another method, privilege or cue provider, or raise training.max_unhinted_share, "
            "training.max_prompt_tokens or training.rollout.max_new_tokens. Images are scaled down by data.pixels.max.",
        )
    return usable, skipped


def _training_example(
    example: Example, cue: str | None, images: PixelStore, chat: Chat, config: TrainConfig
) -> TrainingExample | str:
    """Return the example with its prompts, or the reason why it cannot be used."""
    method = config.effective
    hint = hint_for(method.privilege, example, cue)
    if hint is None and method.privilege != "none":
        return f"has no {method.privilege} for the hint"
    reference: tuple[int, ...] = ()
    if not method.objective.reads:
        text = reference_response(example)
        if text is None:
            return "has neither a reference response nor a rationale"
        reference = tuple(chat.encode_response(text))
        if len(reference) > config.rollout.max_new_tokens:
            return f"has a reference of {len(reference)} tokens, above training.rollout.max_new_tokens = {config.rollout.max_new_tokens}"
    if config.trained.type == "recovery" and not example.images:
        return "has no image, without which the cue recovery module gets no gradient"
    try:
        content = chat.content(example)
    except VicurError as error:
        return f"has a question that cannot be shown: {error.problem.rstrip('.')}"
    pixels, teacher_pixels = images.of(example), images.of(example, "teacher")
    student = chat.prompt(content, pixels)
    is_same = hint is None and [image.key for image in pixels] == [image.key for image in teacher_pixels]
    teacher = student if is_same else chat.prompt(with_hint(content, hint), teacher_pixels)
    for prompt in (student, teacher):
        if len(prompt.ids) > config.max_prompt_tokens:
            return _too_long(prompt, config.max_prompt_tokens, chat)
    return TrainingExample(example, student, teacher, reference)


def _too_long(prompt: Prompt, limit: int, chat: Chat) -> str:
    visual = sum(prompt.types)
    reason = f"has a prompt of {len(prompt.ids)} tokens, {visual} of them visual, above max_prompt_tokens = {limit}"
    # Rounded down, so that questions of about the same length lead to the same setting.
    room = (limit - len(prompt.ids) + visual) // max(1, len(prompt.pixels)) // _ROUNDED * _ROUNDED
    return f"{reason} (data.pixels.max={chat.pixels_of(room)} makes it fit)" if visual and room else reason


def reference_response(example: Example) -> str | None:
    """Return a complete correct response: the example's ``reference``, else its rationale and answer, else ``None``."""
    reference = example.metadata.get("reference")
    if isinstance(reference, str) and reference.strip():
        return reference.strip()
    if example.rationale is None or not example.rationale.strip():
        return None
    return f"{example.rationale.strip()}\nAnswer: {answer_text(example.answer, example.choices)}"


class PixelStore:
    """Prepared images, each distinct image once. It stores sizes only; patches are computed when they are needed."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._pixels: dict[tuple[PromptUse, bytes], Pixels] = {}

    def of(self, example: Example, use: PromptUse = "student") -> tuple[Pixels, ...]:
        """Return the prepared images of an example, in the pixel budget of a use.

        Raises:
            VicurError: if an image cannot be decoded.
        """
        for image in example.images:
            if (use, image) not in self._pixels:
                try:
                    self._pixels[use, image] = self._chat.pixels(image, use)
                except VicurError as error:
                    raise VicurError(
                        error.problem, where=f"example {example.id}, images", remedy=error.remedy
                    ) from error
        return tuple(self._pixels[use, image] for image in example.images)


def batch_rows(count: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Return the row numbers of batch ``step`` (from 0). Each epoch is a new permutation of ``count`` rows; batches may span epochs.

    A function of the step alone, so that a resumed training continues with the batches of an uninterrupted one.
    """
    places = range(step * batch_size, (step + 1) * batch_size)
    orders = {epoch: _epoch_order(count, seed, epoch) for epoch in {place // count for place in places}}
    return [int(orders[place // count][place % count]) for place in places]


def _epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    return numpy_generator(seed, "data", "epoch", epoch).permutation(count)
