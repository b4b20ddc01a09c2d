"""vLLM in the process of a training: the trainer's weights reach it in memory.

A process may hold several, for rollouts and for a teacher. They are closed together: what vLLM keeps of the process is theirs in common.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vicur.errors import VicurError
from vicur.modeling.chat import Prompt
from vicur_vllm.weights import take_weights

# Told by the environment alone: the engine's core in this process rather than in one of its own, and nothing sent to vLLM's makers.
_ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}
# Where the room for keys and values is given, it only says how much of a GPU has to be free at first: the training has its models there.
_FREE_SHARE = 0.01


class InsideEngine:
    """An engine whose weights are those that it was given last; zero at first.

    Args:
        folder: configuration, tokenizer and image processor of the model; no weights.
        arguments: from :func:`~vicur_vllm.arguments.scoring_arguments`.
        cache_bytes: room for keys and values.

    Raises:
        VicurError: where vLLM does not start with them, or in the memory that there is.
    """

    shared = False

    def __init__(self, folder: Path, arguments: Mapping[str, Any], cache_bytes: int) -> None:
        os.environ.update(_ENVIRONMENT)
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        # Only here: it takes seconds, and reads the environment.
        from vllm import LLM

        # vLLM seeds the process's generators; nobody else's draws are to change with it.
        with torch.random.fork_rng(devices=[]):
            try:
                self._llm: Any = LLM(
                    str(folder), kv_cache_memory_bytes=cache_bytes, gpu_memory_utilization=_FREE_SHARE, **arguments
                )
            except (ValueError, torch.OutOfMemoryError) as error:
                raise _unstarted(error, cache_bytes, arguments["max_model_len"]) from error

    def take(self, weights: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
        """Takes weights, all of them, and drops whatever was computed with others.

        Returns:
            Sums of what it holds now (:func:`~vicur_vllm.weights.take_weights`).
        """
        sums: dict[str, int]
        (sums,) = self._llm.collective_rpc(partial(take_weights, weights=weights))
        self._llm.llm_engine.reset_encoder_cache()
        self._llm.reset_prefix_cache()
        return sums

    def answer(self, prompts: Sequence[Prompt], parameters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answers prompts.

        Args:
            prompts: what to answer.
            parameters: sampling parameters of each, by the names that vLLM has for them.

        Returns:
            Of each, ``ids`` and ``finished``; ``logprobs``, and ``prompt_logprobs`` without the first token's, where they were asked for.
        """
        from vllm import SamplingParams

        outputs = self._llm.generate(
            [_request(prompt) for prompt in prompts], [SamplingParams(**each) for each in parameters], use_tqdm=False
        )
        return [_read(output) for output in outputs]

    def close(self) -> None:
        """Gives its memory back. It answers no more."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        cleanup_dist_env_and_memory()


def _unstarted(error: Exception, cache_bytes: int, length: int) -> VicurError:
    # What follows are remedies by vLLM's own flags, which a training does not have.
    said = str(error).split("\n")[0].split(". ")[0].rstrip(".")
    return VicurError(
        f"does not start ({said}).",
        where="vLLM inside the training",
        remedy=f"Its cache_gb (of training.rollout.engine or training.teacher.engine) is {cache_bytes / 1e9:g}: raise it where keys and "
        f"values of {length} tokens, the longest prompt with its response, do not fit. Lower it, or set placement to server, where the "
        "device's memory is short.",
    )


def _request(prompt: Prompt) -> dict[str, Any]:
    request: dict[str, Any] = {"prompt_token_ids": prompt.short_ids}
    if prompt.pixels:
        request["multi_modal_data"] = {"image": [_image(pixels.encoded) for pixels in prompt.pixels]}
        request["multi_modal_uuids"] = {"image": [pixels.key for pixels in prompt.pixels]}
    return request


def _image(encoded: bytes) -> Image.Image:
    with Image.open(io.BytesIO(encoded)) as opened:
        return opened.convert("RGB")


def _read(output: Any) -> dict[str, Any]:
    response, scored = output.outputs[0], output.prompt_logprobs
    ids = list(response.token_ids)
    return {
        "ids": ids,
        "logprobs": response.logprobs and _told(response.logprobs, ids),
        "finished": response.finish_reason == "stop",
        "prompt_logprobs": scored and _told(scored[1:], output.prompt_token_ids[1:]),
    }


def _told(drawn: Sequence[Any], ids: Sequence[int]) -> list[float]:
    return [each[token].logprob for each, token in zip(drawn, ids, strict=True)]
