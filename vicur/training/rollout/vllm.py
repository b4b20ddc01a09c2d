"""Rollouts of a student in vLLM, inside the training or as a server beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from vicur.training.rollout.weights import require_equal, student_weights
from vicur.training.world import World


class Place(Protocol):
    """Where vLLM runs.

    Attributes:
        shared: whether all processes of the training ask the same one; then process 0 alone gives it weights.
    """

    shared: bool

    def take(self, weights: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
        """Takes weights, drops what was computed with others, and tells the sums of those that it then holds."""

    def answer(self, prompts: Sequence[Prompt], parameters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answers prompts, each with the sampling parameters that vLLM has: ``ids``, ``logprobs``, ``finished``, ``prompt_logprobs``."""

    def close(self) -> None:
        """Gives back what it holds here."""


class VllmEngine:
    """vLLM with the student's weights.

    Args:
        place: where it runs.
        spread: the student.
        chat: its chat.
        processes: who trains it.
        dtype: type that vLLM computes in.
        name: what it is called in errors.
    """

    def __init__(
        self, place: Place, spread: ParallelModel, chat: Chat, processes: World, dtype: torch.dtype, name: str
    ) -> None:
        self._place = place
        self._spread = spread
        self._chat = chat
        self._processes = processes
        self._dtype = dtype
        self._name = name
        self._version: int | None = None

    def update(self, version: int) -> None:
        """Sends all weights, where the engine has those of another update, and compares both sides' sums.

        Raises:
            VicurError: where they differ.
        """
        if version == self._version:
            return
        weights = student_weights(self._spread.model, self._dtype)
        if self._processes.is_main or not self._place.shared:
            sent: dict[str, int] = {}
            require_equal(sent, self._place.take(summed(weights, sent)), self._name)
        else:
            # Weights that are sharded are gathered by all.
            for _ in weights:
                pass
        # Nobody asks before the weights are there.
        self._processes.gather(None)
        self._version = version

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        seed: int,
        batch_size: int,  # noqa: ARG002 (vLLM itself finds out how many fit)
        encode: Encode | None = None,  # noqa: ARG002 (it encodes images itself, with the same weights)
        streams: Sequence[int] | None = None,
    ) -> list[Response]:
        """Answers prompts; each draws from a stream of its own, which vLLM seeds."""
        numbers = range(len(prompts)) if streams is None else streams
        asked = [
            {**_parameters(sampling, self._chat.end_id), "seed": substream(seed, "generate", number)}
            for number in numbers
        ]
        return [self._response(answer) for answer in self._place.answer(prompts, asked)]

    def close(self) -> None:
        """Gives back what is held here."""
        self._place.close()

    def _response(self, answer: Mapping[str, Any]) -> Response:
        ids = tuple(answer["ids"])
        return Response(ids, self._chat.decode(ids), tuple(answer["logprobs"]), answer["finished"])


def _parameters(sampling: Sampling, end_id: int) -> dict[str, Any]:
    """vLLM's names for how tokens are drawn. What is never drawn, the engine's model itself masks."""
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
