"""vLLM engine inside the training process, which receives the trainer's weights in memory.

A process may have several engines, for rollouts and for a teacher. Close them together, because they share vLLM's global state.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vicur.data.images import plain_image
from vicur.errors import VicurError
from vicur.modeling.chat import Prompt
from vicur_vllm.weights import take_weights

# Settings that vLLM reads only from the environment: run the engine core in this process, and do not send usage statistics.
_ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}
# With kv_cache_memory_bytes set, gpu_memory_utilization only determines how much memory must be free at startup, when the trainer's models
# already occupy most of it.
_FREE_SHARE = 0.01


class InsideEngine:
    """Engine that computes with the weights of the last call of :meth:`take`. They are zero initially.

    Args:
        folder: configuration, tokenizer and image processor of the model, without weights.
        arguments: from :func:`~vicur_vllm.arguments.scoring_arguments`.

    Raises:
        VicurError: if vLLM rejects the arguments or does not have enough memory for a KV cache of ``cache_bytes``.
    """

    shared = False

    def __init__(self, folder: Path, arguments: Mapping[str, Any], cache_bytes: int) -> None:
        os.environ.update(_ENVIRONMENT)
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        # Imported here because it takes seconds and reads the environment.
        from vllm import LLM

        # vLLM seeds the global generators, which must not change the trainer's draws.
        with torch.random.fork_rng(devices=[]):
            try:
                self._llm: Any = LLM(
                    str(folder), kv_cache_memory_bytes=cache_bytes, gpu_memory_utilization=_FREE_SHARE, **arguments
                )
            except (ValueError, torch.OutOfMemoryError) as error:
                raise _startup_error(error, cache_bytes, arguments["max_model_len"]) from error

    def take(self, weights: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
        """Load all weights and return their checksums (:func:`~vicur_vllm.weights.take_weights`)."""
        sums: dict[str, int]
        (sums,) = self._llm.collective_rpc(partial(take_weights, weights=weights))
        # Cached image features and prefixes were computed with the old weights.
        self._llm.llm_engine.reset_encoder_cache()
        self._llm.reset_prefix_cache()
        return sums

    def answer(self, prompts: Sequence[Prompt], parameters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Generate a response to each prompt, with arguments of ``vllm.SamplingParams`` for each.

        Returns:
            For each prompt ``ids`` and ``finished``, and, if requested, ``logprobs`` and ``prompt_logprobs`` (without the first token).
        """
        from vllm import SamplingParams

        outputs = self._llm.generate(
            [_request(prompt) for prompt in prompts], [SamplingParams(**each) for each in parameters], use_tqdm=False
        )
        return [_read(output) for output in outputs]

    def close(self) -> None:
        """Free the memory of the engine, which cannot be used afterwards."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        cleanup_dist_env_and_memory()


def _startup_error(error: Exception, cache_bytes: int, max_model_len: int) -> VicurError:
    # Only the first sentence: the rest suggests command-line flags of vLLM, which a training run does not have.
    reason = str(error).split("\n")[0].split(". ")[0].rstrip(".")
    return VicurError(
        f"vLLM failed to start ({reason}).",
        where="vLLM inside the training",
        remedy=f"cache_gb (of training.rollout.engine or training.teacher.engine) is {cache_bytes / 1e9:g}. Raise it if the KV cache is "
        f"too small for the longest prompt with its response ({max_model_len} tokens). Lower it, or set placement to job, if the device "
        "has too little memory.",
    )


def _request(prompt: Prompt) -> dict[str, Any]:
    request: dict[str, Any] = {"prompt_token_ids": prompt.short_ids}
    if prompt.pixels:
        request["multi_modal_data"] = {"image": [plain_image(pixels.encoded) for pixels in prompt.pixels]}
        request["multi_modal_uuids"] = {"image": [pixels.key for pixels in prompt.pixels]}
    return request


def _read(output: Any) -> dict[str, Any]:
    response, scored = output.outputs[0], output.prompt_logprobs
    ids = list(response.token_ids)
    return {
        "ids": ids,
        "logprobs": response.logprobs and _logprobs(response.logprobs, ids),
        "finished": response.finish_reason == "stop",
        "prompt_logprobs": scored and _logprobs(scored[1:], output.prompt_token_ids[1:]),
    }


def _logprobs(candidates: Sequence[Any], ids: Sequence[int]) -> list[float]:
    return [by_token[token].logprob for by_token, token in zip(candidates, ids, strict=True)]
