"""The examples of a training with their prompts, which are built when a batch needs them.

The usable examples are selected once, in a pass over the dataset (:mod:`vicur.training.selection`). Prompts of all examples would not fit
into memory, so that they are built again for each batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from vicur.config.prompts import PromptUse
from vicur.config.training import TrainConfig
from vicur.cues.hints import hint_for, with_hint
from vicur.data.schema import Example, VideoMark
from vicur.data.stored import StoredSplit
from vicur.errors import VicurError
from vicur.modeling.ahead import DecodeAhead, example_pixels
from vicur.modeling.chat import Chat, Pixels, Prompt
from vicur.prompts import answer_text
from vicur.training.order import RowGroups

_ROUNDED = 16  # visual tokens
_USES: tuple[PromptUse, ...] = ("student", "teacher")


@dataclass(frozen=True, eq=False)
class TrainingExample:
    """An example with its prompts."""

    example: Example
    student: Prompt
    teacher: Prompt  # with the hint; the student's prompt if there is no privilege
    reference: tuple[int, ...] = ()  # token ids of the reference response, if the objective learns from it


class TrainingExamples(Sequence[TrainingExample]):
    """The usable examples of a dataset, in its order. Each is read, and its prompts are built, when it is used.

    Args:
        pool: all examples.
        usable: numbers of the usable ones in ``pool``, ascending.
        cues: the cues by example id.
        ahead: decodes images ahead; by default, they are decoded when their patches are needed.
    """

    def __init__(
        self,
        pool: Sequence[Example],
        usable: NDArray[np.int64],
        cues: Mapping[str, str],
        chat: Chat,
        config: TrainConfig,
        ahead: DecodeAhead | None = None,
    ) -> None:
        self._pool = pool
        self._usable = usable
        self._cues = cues
        self._chat = chat
        self._config = config
        self.ahead = ahead

    def __len__(self) -> int:
        return len(self._usable)

    @overload
    def __getitem__(self, number: int) -> TrainingExample: ...
    @overload
    def __getitem__(self, number: slice) -> list[TrainingExample]: ...
    def __getitem__(self, number: int | slice) -> TrainingExample | list[TrainingExample]:
        if isinstance(number, slice):
            return [self[n] for n in range(len(self))[number]]
        example = self._pool[int(self._usable[number])]
        built = training_example(example, self._cues.get(example.id), self._chat, self._config, self.ahead)
        assert isinstance(built, TrainingExample), f"{example.id} was selected, but {built}"
        return built

    @property
    def groups(self) -> RowGroups:
        """The row groups of the dataset, with the number of usable rows in each."""
        if not isinstance(self._pool, StoredSplit):
            return RowGroups.single(len(self))
        ends = np.searchsorted(self._usable, [group.start + group.rows for group in self._pool.groups])
        rows = np.diff(ends, prepend=0)
        return RowGroups(tuple(map(int, rows)), tuple(group.size for group in self._pool.groups))

    def load(self, numbers: Sequence[int]) -> None:
        """Read these examples from the disk, so that they are in memory when they are used."""
        if isinstance(self._pool, StoredSplit):
            self._pool.load(self._usable[number] for number in numbers)


def training_example(
    example: Example, cue: str | None, chat: Chat, config: TrainConfig, ahead: DecodeAhead | None = None
) -> TrainingExample | str:
    """Return the example with its prompts, or the reason why it cannot be used.

    Raises:
        VicurError: if the header of an image cannot be read.
    """
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
    if example.video is not None:
        _require_own_generation(example, config)
    pixels, teacher_pixels = (example_pixels(chat, example, use, ahead) for use in _USES)
    student = chat.prompt(content, pixels)
    is_same = hint is None and [image.key for image in pixels] == [image.key for image in teacher_pixels]
    teacher = student if is_same else chat.prompt(with_hint(content, hint), teacher_pixels)
    for prompt in (student, teacher):
        if len(prompt.ids) > config.max_prompt_tokens:
            return _too_long(prompt, config.max_prompt_tokens, chat)
    return TrainingExample(example, student, teacher, reference)


def _require_own_generation(example: Example, config: TrainConfig) -> None:
    if config.engines:
        raise VicurError(
            "vLLM gets no videos from a training, but this example is about one.",
            where=f"training.{next(iter(config.engines))}.engine, example {example.id}",
            remedy="Remove the engine, so that the training generates and scores itself, or train on examples without videos.",
        )


def _too_long(prompt: Prompt, limit: int, chat: Chat) -> str:
    visual = sum(1 for kind in prompt.types if kind)
    reason = f"has a prompt of {len(prompt.ids)} tokens, {visual} of them visual, above max_prompt_tokens = {limit}"
    # Rounded down, so that questions of about the same length lead to the same setting.
    runs = sum(len(pixels.run_grids) for pixels in prompt.pixels)
    room = (limit - len(prompt.ids) + visual) // max(1, runs) // _ROUNDED * _ROUNDED
    return f"{reason} (data.pixels.max={chat.pixels_of(room)} makes it fit)" if visual and room > 0 else reason


def reference_response(example: Example) -> str | None:
    """Return a complete correct response: the example's ``reference``, else its rationale and answer, else ``None``."""
    reference = example.metadata.get("reference")
    if isinstance(reference, str) and reference.strip():
        return reference.strip()
    if example.rationale is None or not example.rationale.strip():
        return None
    return f"{example.rationale.strip()}\nAnswer: {answer_text(example.answer, example.choices)}"


class PixelStore:
    """Prepared images of examples that are used again and again. It stores sizes only; patches are computed when they are needed."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._pixels: dict[tuple[PromptUse, VideoMark | None, tuple[bytes, ...]], tuple[Pixels, ...]] = {}

    def of(self, example: Example, use: PromptUse = "student") -> tuple[Pixels, ...]:
        """Return the prepared images of an example, in the pixel budget of a use.

        Raises:
            VicurError: if an image cannot be read.
        """
        key = (use, example.video, example.images)
        if key not in self._pixels:
            self._pixels[key] = example_pixels(self._chat, example, use)
        return self._pixels[key]
