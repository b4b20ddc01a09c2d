"""A teacher in vLLM: it scores responses as prompts, of which vLLM tells the log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vicur.errors import VicurError
from vicur.modeling.chat import Pixels, Prompt
from vicur.modeling.checkpoint import weight_files
from vicur.training.rollout.vllm import Place
from vicur.training.teachers import Features, Teacher


class VllmTeacher(Teacher):
    """A model that stays as it is, in vLLM.

    Args:
        place: where vLLM runs, with the teacher's weights.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def features(self, images: Sequence[Pixels], student: Features, step: int) -> Features:  # noqa: ARG002
        """None: vLLM encodes images itself."""
        return {}

    def logprobs(self, prompts: Sequence[Prompt], responses: Sequence[Sequence[int]]) -> Tensor:
        """Log-probabilities of the responses' tokens [N], row by row, under the distribution that sampling has.

        Args:
            prompts: the teacher's prompts, with their hints.
            responses: token ids of the responses to them.
        """
        whole = [_continued(prompt, ids) for prompt, ids in zip(prompts, responses, strict=True)]
        asked = {"temperature": 0, "max_tokens": 1, "prompt_logprobs": 0, "detokenize": False}
        told = self._place.answer(whole, [asked] * len(whole))
        scores = [row["prompt_logprobs"][len(prompt.ids) - 1 :] for row, prompt in zip(told, prompts, strict=True)]
        return torch.tensor([score for row in scores for score in row])

    def close(self) -> None:
        """Gives back what is held here."""
        self._place.close()


def checkpoint_weights(folder: Path, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Weights of a checkpoint, one after the other, in the type that an engine computes in.

    Raises:
        VicurError: where it holds none, or damaged ones.
    """
    for file in weight_files(folder):
        try:
            with safe_open(file, "pt") as weights:
                for name in weights.keys():  # noqa: SIM118 (it is no mapping)
                    yield name, weights.get_tensor(name).to(dtype)
        except (OSError, SafetensorError) as error:
            raise VicurError(
                f"cannot be read ({error}).", where=str(file), remedy="Copy or download the checkpoint again."
            ) from error


def _continued(prompt: Prompt, ids: Sequence[int]) -> Prompt:
    """A prompt with a response to it."""
    return Prompt((*prompt.ids, *ids), (*prompt.types, *(0 for _ in ids)), prompt.pixels)
