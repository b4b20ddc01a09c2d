"""What an engine must be told to run a student; the limits hold it to that."""

from __future__ import annotations

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
