"""A student that answers rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from vicur.config.prompts import PromptConfig
from vicur.config.serving import ModelLimits
from vicur.config.video import VideoConfig
from vicur.errors import VicurError
from vicur.registry.served.files import Files
from vicur.registry.served.parameters import longest_answer, parameters_of
from vicur.registry.served.rows import RowReader


@dataclass(frozen=True)
class Answer:
    """The answer to one row."""

    answer: str | None = None
    """Final answer that the response states, if any."""
    response: str | None = None
    """The response; ``None`` if there is none."""
    error: str | None = None
    """Why the row has no response; ``None`` if it was."""
    prompt_tokens: int = 0
    tokens: int = 0
    """Tokens of the response."""
    finished: bool = True
    """Whether the response ended before the maximum length."""


class ServedStudent:
    """Answers rows with the student in ``folder``.

    Args:
        folder: checkpoint.
        decoding: sampling settings of its evaluation, which are the defaults of requests.
        prompts: system message, layout of choices and pixel budget of its evaluation.
        video: how its dataset's videos were sampled.
        limits: limits on requests.
    """

    def __init__(
        self,
        folder: Path,
        decoding: Mapping[str, Any],
        prompts: PromptConfig | None = None,
        video: VideoConfig | None = None,
        limits: ModelLimits | None = None,
    ) -> None:
        from vicur.modeling import load_model
        from vicur.modeling.chat import Chat
        from vicur.modeling.device import resolve_device
        from vicur.modeling.readability import context_length

        self.decoding = dict(decoding)
        self.limits = limits or ModelLimits()
        self.chat = Chat.load(folder, prompts or PromptConfig())
        self._video = video or VideoConfig()
        self._model = load_model(folder, device=resolve_device("auto", "device"))
        self._context = context_length(folder)
        # Threads of a server would share the memory of the machine.
        self._one_at_a_time = Lock()

    def with_limits(self, limits: ModelLimits) -> ServedStudent:
        """Return this student with other limits. It shares the model."""
        student = object.__new__(ServedStudent)
        student.__dict__.update(self.__dict__, limits=limits)
        return student

    def reader(self, files: Files, max_new_tokens: int = 0) -> RowReader:
        """Return the reader of the rows of one request, whose answers have at most ``max_new_tokens`` tokens."""
        longest = max(1, min(self.limits.max_prompt_tokens, self._context - max_new_tokens))
        return RowReader(self.chat, self._video, self.limits, files, longest)

    def answer(self, rows: Sequence[Mapping[Any, Any]], params: Mapping[str, Any], files: Files) -> list[Answer]:
        """Answer rows, in order. The answer to a row that is invalid has an ``error``.

        Raises:
            VicurError: if a parameter is unknown or out of bounds.
        """
        from vicur.answers import extract_answer
        from vicur.modeling.generation import generate

        parameters = parameters_of(params, self.decoding, self.limits.max_tokens)
        length = parameters.sampling.max_new_tokens
        answers: dict[int, Answer] = {}
        with self._one_at_a_time:
            reader = self.reader(files, length)
            prompts = {}
            for number, row in enumerate(rows):
                try:
                    prompts[number] = reader.prompt(row)
                except VicurError as error:
                    answers[number] = Answer(error=str(error))
            longest = max((len(prompt.ids) for prompt in prompts.values()), default=1) + length
            responses = generate(
                self._model,
                self.chat,
                [*prompts.values()],
                parameters.sampling,
                seed=parameters.seed,
                batch_size=max(1, min(parameters.batch_size, self.limits.max_batch_tokens // longest)),
                fit_memory=True,
                # An invalid row changes no other row's answer.
                streams=[*prompts],
            )
        for number, response in zip(prompts, responses, strict=True):
            answers[number] = Answer(
                extract_answer(response.text),
                response.text,
                prompt_tokens=len(prompts[number].ids),
                tokens=len(response.ids),
                finished=response.finished,
            )
        return [answers[number] for number in range(len(rows))]

    @property
    def longest_answer(self) -> int:
        """Maximum number of tokens of an answer."""
        return longest_answer(self.decoding, self.limits.max_tokens)
