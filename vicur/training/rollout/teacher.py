"""A teacher in vLLM: prompt and response are sent as one prompt, of which vLLM returns the log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vicur.errors import VicurError
from vicur.modeling.chat import Pixels, Prompt
from vicur.modeling.checkpoint import weight_files
from vicur.training.rollout.vllm import VllmBackend
from vicur.training.teachers import Features, Teacher


class VllmTeacher(Teacher):
    """A frozen model in vLLM."""

    def __init__(self, backend: VllmBackend) -> None:
        self._backend = backend

    def features(self, images: Sequence[Pixels], student: Features, step: int) -> Features:  # noqa: ARG002
        # vLLM encodes images itself.
        return {}

    def logprobs(self, prompts: Sequence[Prompt], responses: Sequence[Sequence[int]]) -> Tensor:
        """Return the log-probabilities of the responses' tokens [N], row by row, under the distribution of sampling."""
        joined = [_joined(prompt, ids) for prompt, ids in zip(prompts, responses, strict=True)]
        # prompt_logprobs: 0 returns those of the prompt's own tokens without alternatives. vLLM samples at least one token.
        parameters = {"temperature": 0, "max_tokens": 1, "prompt_logprobs": 0, "detokenize": False}
        answers = self._backend.answer(joined, [parameters] * len(joined))
        # Entry n belongs to token n + 1: the first token has no log-probability.
        scores = [row["prompt_logprobs"][len(prompt.ids) - 1 :] for row, prompt in zip(answers, prompts, strict=True)]
        return torch.tensor([score for row in scores for score in row])

    def close(self) -> None:
        self._backend.close()


def checkpoint_weights(folder: Path, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of a checkpoint one by one, cast to ``dtype``.

    Raises:
        VicurError: if there are none, or a file is damaged.
    """
    for file in weight_files(folder):
        try:
            with safe_open(file, "pt") as weights:
                for name in weights.keys():  # noqa: SIM118 (safe_open cannot be iterated)
                    yield name, weights.get_tensor(name).to(dtype)
        except (OSError, SafetensorError) as error:
            raise VicurError(
                f"the file cannot be read: {error}.", where=str(file), remedy="Copy or download the checkpoint again."
            ) from error


def _joined(prompt: Prompt, ids: Sequence[int]) -> Prompt:
    return Prompt((*prompt.ids, *ids), (*prompt.types, *(0 for _ in ids)), prompt.pixels)
