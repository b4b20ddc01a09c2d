"""What a training asks of whoever draws its rollouts, and the engine that is the trained model itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from vicur.config.sampling import Sampling
from vicur.modeling.chat import Chat, Prompt
from vicur.modeling.generation import Response, generate
from vicur.modeling.vision import Encode
from vicur.training.parallel import ParallelModel


class RolloutEngine(Protocol):
    """Answers prompts as the student would."""

    def update(self, version: int) -> None:
        """Sees to it that answers are those of the student as it is now. All processes call it together.

        Args:
            version: updates that the student has made: one that the engine has already costs nothing.

        Raises:
            VicurError: where the weights that arrived are not those that were sent.
        """

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        seed: int,
        batch_size: int,
        encode: Encode | None = None,
        streams: Sequence[int] | None = None,
    ) -> list[Response]:
        """Answers ``prompts``, in their order, as :func:`~vicur.modeling.generation.generate` does.

        Args:
            prompts: this process's prompts.
            sampling: how tokens are drawn.
            seed: root of the draws.
            batch_size: prompts that are answered at once, where the engine does not find that out itself.
            encode: gives features of the images, for an engine that takes them.
            streams: numbers of the prompts' streams; by default their places.
        """

    def close(self) -> None:
        """Gives back what it holds. It answers no more."""


class TransformersEngine:
    """The trained model itself.

    Args:
        spread: the student.
        chat: its chat.
    """

    def __init__(self, spread: ParallelModel, chat: Chat) -> None:
        self._spread = spread
        self._chat = chat

    def update(self, version: int) -> None:
        """There is nothing to do: it is the student."""

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        seed: int,
        batch_size: int,
        encode: Encode | None = None,
        streams: Sequence[int] | None = None,
    ) -> list[Response]:
        """Answers prompts in batches of ``batch_size``."""
        answer = partial(
            generate,
            self._spread.model,
            self._chat,
            prompts,
            sampling,
            seed=seed,
            batch_size=batch_size,
            encode=encode,
            streams=streams,
        )
        with self._spread.gathered():
            answers: list[Response] = self._spread.run(answer)
        return answers

    def close(self) -> None:
        """It holds nothing of its own."""
