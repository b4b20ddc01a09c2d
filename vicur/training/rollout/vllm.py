"""Rollouts of the student in vLLM, inside the training process or on a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from vicur.config.sampling import Sampling
from vicur.modeling.chat import Chat, Prompt
from vicur.modeling.generation import Response
from vicur.modeling.vision import Encode
from vicur.modeling.weight_sums import summed
from vicur.seeds import substream
from vicur.training.parallel import ParallelModel
from vicur.training.rollout.weights import BUCKET_BYTES, differing, require_agreement, student_weights
from vicur.training.world import World


class VllmBackend(Protocol):
    """A running vLLM."""

    # Whether all training processes use the same instance. Rank 0 then sends the weights.
    shared: bool
    # Name of the weights that rank 0 has sent to a shared instance.
    generation: str | None

    def expect(self, generation: str | None) -> None:
        """Answer with the weights of this name only."""

    def take(self, weights: Iterable[tuple[str, Tensor]]) -> Mapping[str, int | None]:
        """Load weights, reset all caches, and return the sums of the loaded weights."""

    def sleep(self) -> bool:
        """Give back the device's memory, if the backend can. Returns whether that loses the weights."""

    def answer(self, prompts: Sequence[Prompt], parameters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answer prompts, each with vLLM's sampling parameters: ``ids``, ``logprobs``, ``finished``, ``prompt_logprobs``."""

    def close(self) -> None:
        """Release resources of this process."""


class VllmEngine:
    """vLLM with the student's weights, computing in ``dtype``. Errors call it ``name``."""

    def __init__(
        self,
        backend: VllmBackend,
        parallel: ParallelModel,
        chat: Chat,
        world: World,
        dtype: torch.dtype,
        name: str,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        self._backend = backend
        self._parallel = parallel
        self._chat = chat
        self._world = world
        self._dtype = dtype
        self._name = name
        self._bucket_bytes = bucket_bytes
        self._version: int | None = None

    def update(self, version: int) -> None:
        """Send all weights if the engine has another version, and compare the sums of both sides.

        Raises:
            VicurError: in all processes, if the sums differ in one of them, or if the students of the processes differ.
        """
        if version == self._version:
            return
        weights = student_weights(self._parallel.model, self._dtype, self._bucket_bytes)
        sent: dict[str, int] = {}
        held: Mapping[str, int | None] = {}
        sends = self._world.is_main or not self._backend.shared
        if sends:
            held = self._backend.take(summed(weights, sent))
        else:
            # Gathering a sharded weight is a collective, so the other ranks iterate too.
            for _ in weights:
                pass
        # Also a barrier: no rank samples before the engine has the weights.
        outcomes = self._world.gather((differing(sent, held), sent) if sends else None)
        require_agreement([outcome for outcome in outcomes if outcome is not None], self._name)
        if self._backend.shared:
            self._backend.expect(self._world.broadcast(self._backend.generation))
        self._version = version

    def release(self) -> None:
        if self._backend.sleep():
            self._version = None

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        seed: int,
        batch_size: int,  # noqa: ARG002 (vLLM batches requests itself)
        encode: Encode | None = None,  # noqa: ARG002 (vLLM encodes images itself, with the same weights)
        streams: Sequence[int] | None = None,
        on_smaller_batch: Callable[[int], None] | None = None,  # noqa: ARG002 (vLLM keeps to its memory)
    ) -> list[Response]:
        # A seed for each prompt, so that a response does not depend on how vLLM batches requests.
        numbers = range(len(prompts)) if streams is None else streams
        parameters = [
            {**_parameters(sampling, self._chat.end_id), "seed": substream(seed, "generate", number)}
            for number in numbers
        ]
        return [self._response(answer) for answer in self._backend.answer(prompts, parameters)]

    def fitting_batch(
        self,
        prompts: Sequence[Prompt],  # noqa: ARG002 (vLLM batches requests itself)
        sampling: Sampling,  # noqa: ARG002 (as above)
        most: int,
        reserved: int = 0,  # noqa: ARG002 (as above)
    ) -> int:
        return most

    def close(self) -> None:
        self._backend.close()

    def _response(self, answer: Mapping[str, Any]) -> Response:
        ids = tuple(answer["ids"])
        return Response(ids, self._chat.decode(ids), tuple(answer["logprobs"]), answer["finished"])


def _parameters(sampling: Sampling, end_id: int) -> dict[str, Any]:
    # Tokens that are never sampled do not appear here: the plugin's model masks them.
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "presence_penalty": sampling.presence_penalty,
        "max_tokens": sampling.max_new_tokens,
        "logprobs": 0,
        "stop_token_ids": [end_id],
        "ignore_eos": True,
        "detokenize": False,
    }
