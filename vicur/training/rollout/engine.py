"""The interface of rollout engines, and the engine that is the trained model itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from vicur.config.sampling import Sampling
from vicur.modeling.chat import Chat, Prompt
from vicur.modeling.generation import Response, fitting_batch, generate
from vicur.modeling.vision import Encode
from vicur.training.parallel import ParallelModel


class RolloutEngine(Protocol):
    """Samples responses from the student's distribution."""

    def update(self, version: int) -> None:
        """Make the engine use the student's current weights, which are those after ``version`` updates.

        All processes call this together. Nothing is sent if the engine has this version already.

        Raises:
            VicurError: if the engine received other weights than were sent.
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
        on_smaller_batch: Callable[[int], None] | None = None,
    ) -> list[Response]:
        """Return a response to each of this process's prompts, as :func:`~vicur.modeling.generation.generate` does.

        Args:
            batch_size: prompts to process at once, if the engine does not choose that itself.
            encode: returns image features, for engines that accept them.
            streams: numbers of the prompts' random streams. Default: their indices.
            on_smaller_batch: called with the new number of prompts whenever memory runs out.
        """

    def fitting_batch(self, prompts: Sequence[Prompt], sampling: Sampling, most: int, reserved: int = 0) -> int:
        """Return how many of this process's prompts to process at once: ``most``, or fewer if the device has too little free memory.

        Args:
            reserved: bytes of the free memory that the training will take later.
        """

    def release(self) -> None:
        """Give back memory that a training step needs after its rollouts. :meth:`update` takes it again."""

    def close(self) -> None: ...


class TransformersEngine:
    """The trained model itself."""

    def __init__(self, parallel: ParallelModel, chat: Chat) -> None:
        self._parallel = parallel
        self._chat = chat

    def update(self, version: int) -> None:
        pass  # the weights are the student's

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        seed: int,
        batch_size: int,
        encode: Encode | None = None,
        streams: Sequence[int] | None = None,
        on_smaller_batch: Callable[[int], None] | None = None,
    ) -> list[Response]:
        function = partial(
            generate,
            self._parallel.model,
            self._chat,
            prompts,
            sampling,
            seed=seed,
            batch_size=batch_size,
            encode=encode,
            streams=streams,
            on_smaller_batch=on_smaller_batch,
        )
        with self._parallel.unsharded():
            responses: list[Response] = self._parallel.run(function)
        return responses

    def fitting_batch(self, prompts: Sequence[Prompt], sampling: Sampling, most: int, reserved: int = 0) -> int:
        with self._parallel.unsharded():
            return self._parallel.run(partial(fitting_batch, self._parallel.model, prompts, sampling, most, reserved))

    def release(self) -> None:
        pass  # generation frees its memory

    def close(self) -> None:
        pass
