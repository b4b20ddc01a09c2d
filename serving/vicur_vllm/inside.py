"""vLLM engine inside the training processes, which receives the trainer's weights in memory.

A process may have several engines, for rollouts and for a teacher. Close them together, because they share vLLM's global state.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from vicur.data.images import plain_image
from vicur.errors import VicurError
from vicur.modeling.chat import Prompt
from vicur.modeling.weight_sums import combined
from vicur_vllm.weights import clear_kv_cache, take_weights

# Settings that vLLM reads only from the environment: run the engine core in this process, and do not send usage statistics.
_ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}
# With kv_cache_memory_bytes set, gpu_memory_utilization only determines how much memory must be free at startup, when the trainer's models
# already occupy most of it.
_FREE_SHARE = 0.01


class Group(Protocol):
    """The training processes of one engine, which divide its model among them (tensor parallelism)."""

    @property
    def size(self) -> int: ...

    @property
    def place(self) -> int:
        """Number of this process in the group."""

    def gather(self, value: list[Any]) -> list[list[Any]]:
        """Return the values of all processes of the group, in their order. They call this together."""


class InsideEngine:
    """Engine that computes with the weights of the last call of :meth:`take`. They are zero initially.

    The processes of a training each have one, or share one in groups. Those of a group call every method together.

    Args:
        folder: configuration, tokenizer and image processor of the model, without weights.
        arguments: from :func:`~vicur_vllm.arguments.scoring_arguments`.
        group: the processes of this engine, if the training has several processes.
        sleeps: whether :meth:`sleep` frees the memory of a GPU.

    Raises:
        VicurError: if vLLM rejects the arguments or does not have enough memory for a KV cache of ``cache_bytes``.
    """

    shared = False
    generation: str | None = None

    def expect(self, generation: str | None) -> None:
        """Do nothing: this process itself loads the weights."""

    def __init__(
        self,
        folder: Path,
        arguments: Mapping[str, Any],
        cache_bytes: int,
        *,
        group: Group | None = None,
        sleeps: bool = False,
    ) -> None:
        os.environ.update(_ENVIRONMENT)
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        # Imported here because it takes seconds and reads the environment.
        from vllm import LLM

        self._group, self._sleeps = group, sleeps
        self._asleep = False
        if group is not None:
            # vLLM joins the process group of the training instead of creating one, and uses the device of the local rank.
            arguments = {
                **arguments,
                "distributed_executor_backend": "external_launcher",
                "tensor_parallel_size": group.size,
            }
        # vLLM seeds the global generators, which must not change the trainer's draws.
        with torch.random.fork_rng(devices=[]):
            try:
                self._llm: Any = LLM(
                    str(folder),
                    kv_cache_memory_bytes=cache_bytes,
                    gpu_memory_utilization=_FREE_SHARE,
                    enable_sleep_mode=sleeps,
                    **arguments,
                )
            except (ValueError, torch.OutOfMemoryError) as error:
                raise _startup_error(error, cache_bytes, arguments["max_model_len"]) from error

    def take(self, weights: Iterable[tuple[str, Tensor]]) -> dict[str, int | None]:
        """Load all weights and return their checksums (:func:`~vicur_vllm.weights.take_weights`)."""
        if self._asleep:
            # The KV cache comes last: while weights arrive, gathered ones need memory as well.
            self._llm.wake_up(tags=["weights"])
        (parts,) = self._llm.collective_rpc(partial(take_weights, weights=weights))
        if self._asleep:
            self._llm.wake_up(tags=["kv_cache"])
            self._llm.collective_rpc(clear_kv_cache)
            self._asleep = False
        # Cached image features and prefixes were computed with the old weights.
        self._llm.llm_engine.reset_encoder_cache()
        self._llm.reset_prefix_cache()
        return combined([parts] if self._group is None else [each for (each,) in self._group.gather([parts])])

    def answer(self, prompts: Sequence[Prompt], parameters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Generate a response to each prompt, with arguments of ``vllm.SamplingParams`` for each.

        Returns:
            For each prompt ``ids`` and ``finished``, and, if requested, ``logprobs`` and ``prompt_logprobs`` (without the first token).
        """
        requests = [_Request.of(*each) for each in zip(prompts, parameters, strict=True)]
        if self._group is None or self._group.size == 1:
            return self._generate(requests)
        # All processes of an engine run the same requests in the same order, each with its part of the model.
        shares = self._group.gather(requests)
        answers = self._generate([request for share in shares for request in share])
        start = sum(map(len, shares[: self._group.place]))
        return answers[start : start + len(requests)]

    def _generate(self, requests: Sequence[_Request]) -> list[dict[str, Any]]:
        from vllm import SamplingParams

        outputs = self._llm.generate(
            [request.prompt() for request in requests],
            [SamplingParams(**request.parameters) for request in requests],
            use_tqdm=False,
        )
        return [_read(output) for output in outputs]

    def sleep(self) -> bool:
        """Free the GPU's memory until the next call of :meth:`take`. Returns whether the weights are lost."""
        if self._sleeps and not self._asleep:
            # Level 1 would keep a copy of the weights in host memory, but every update sends them again.
            self._llm.sleep(level=2)
            self._asleep = True
        return self._asleep

    def close(self) -> None:
        """Free the memory of the engine, which cannot be used afterwards."""
        from vllm.distributed import cleanup_dist_env_and_memory, destroy_model_parallel

        client = self._llm.llm_engine.engine_core
        self._llm = None
        if self._group is None:
            client.shutdown()
            cleanup_dist_env_and_memory()
            return
        # As the client's shutdown does, except for destroying the process group: it is the training's, which still needs it.
        client._finalizer.detach()
        client.engine_core.model_executor.shutdown()
        client.engine_core.scheduler.shutdown()
        gc.unfreeze()
        destroy_model_parallel()


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


@dataclass(frozen=True)
class _Request:
    """A request in a form that can be sent to other processes."""

    ids: tuple[int, ...]
    images: tuple[tuple[str, bytes], ...]  # key and encoded image
    parameters: dict[str, Any]

    @classmethod
    def of(cls, prompt: Prompt, parameters: Mapping[str, Any]) -> _Request:
        images = tuple((pixels.key, pixels.encoded) for pixels in prompt.pixels)
        return cls(tuple(prompt.short_ids), images, dict(parameters))

    def prompt(self) -> dict[str, Any]:
        """Return the prompt in vLLM's form."""
        request: dict[str, Any] = {"prompt_token_ids": list(self.ids)}
        if self.images:
            request["multi_modal_data"] = {"image": [plain_image(encoded) for _, encoded in self.images]}
            request["multi_modal_uuids"] = {"image": [key for key, _ in self.images]}
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
