"""What an engine must be told to run a student; the limits hold it to that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def engine_arguments(max_model_len: int) -> dict[str, Any]:
    """Arguments for ``vllm.LLM``, or as flags for ``vllm serve``, with which it takes a student with cue recovery.

    Args:
        max_model_len: tokens of the longest prompt with its response. A forward holds as many, since no prompt is split.
    """
    return {
        "max_model_len": max_model_len,
        "max_num_batched_tokens": max_model_len,
        "enable_chunked_prefill": False,
        "enable_prefix_caching": False,
        "async_scheduling": False,
        "enforce_eager": True,
        "limit_mm_per_prompt": {"video": 0},
    }


def scoring_arguments(
    max_model_len: int, *, dtype: str, forbidden_ids: Sequence[int], cue_recovery: bool, tokens_per_forward: int = 8192
) -> dict[str, Any]:
    """Arguments of an engine that takes part in a training: its log-probabilities are the trainer's.

    Args:
        max_model_len: tokens of the longest prompt with its response.
        dtype: type of its weights, ``float32`` or ``bfloat16``.
        forbidden_ids: ids that are never sampled, and have no probability.
        cue_recovery: whether the model has the module.
        tokens_per_forward: prompts of as many tokens are read at once.
    """
    return {
        **engine_arguments(max_model_len),
        "max_num_batched_tokens": max(max_model_len, tokens_per_forward),
        "dtype": dtype,
        "hf_overrides": {"architectures": ["VicurServedStudent" if cue_recovery else "VicurServedBackbone"]},
        "additional_config": {"vicur": {"forbidden_ids": list(forbidden_ids)}},
        # Before temperature and truncation; the ids without probability are masked by the model.
        "logprobs_mode": "raw_logprobs",
        # Settings of the checkpoint's own would add to the trainer's.
        "generation_config": "vllm",
    }


def flags(arguments: Mapping[str, Any]) -> list[str]:
    """Arguments of an engine as ``vllm serve`` takes them on its command line."""
    words: list[str] = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return words
