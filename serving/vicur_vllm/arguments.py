"""Engine arguments that students need. :mod:`vicur_vllm.limits` rejects engines that are started without them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

PIXELS = "vicur_pixels"
"""Field of the model's configuration in an engine: smallest and largest number of pixels of an image, if not the checkpoint's. A list,
because vLLM takes a mapping for a sub-configuration."""


def engine_arguments(max_model_len: int) -> dict[str, Any]:
    """Return the arguments of ``vllm.LLM`` (or flags of ``vllm serve``) that a student with cue recovery requires."""
    return {
        "max_model_len": max_model_len,
        # A prompt is never split, so a forward pass must be able to hold the longest one.
        "max_num_batched_tokens": max_model_len,
        "enable_chunked_prefill": False,
        "enable_prefix_caching": False,
        "async_scheduling": False,
        "enforce_eager": True,
        "limit_mm_per_prompt": {"video": 0},
    }


def model_overrides(*, cue_recovery: bool, pixels: Mapping[str, int] | None) -> dict[str, Any]:
    """Return the settings of a checkpoint that engines replace: the class of the model, and the sizes of images if they are set."""
    overrides: dict[str, Any] = {"architectures": ["VicurServedStudent" if cue_recovery else "VicurServedBackbone"]}
    return overrides if pixels is None else {**overrides, PIXELS: [pixels["shortest_edge"], pixels["longest_edge"]]}


def scoring_arguments(
    max_model_len: int,
    *,
    dtype: str,
    forbidden_ids: Sequence[int],
    cue_recovery: bool,
    pixels: Mapping[str, int] | None = None,
    tokens_per_forward: int = 8192,
) -> dict[str, Any]:
    """Return the arguments of an engine for training, whose log-probabilities agree with those of the trainer.

    Args:
        max_model_len: maximum number of tokens of a prompt with its response.
        dtype: ``float32`` or ``bfloat16``.
        forbidden_ids: token ids that have probability 0.
        cue_recovery: whether the model is a student with cue recovery.
        pixels: smallest and largest size of images, as the image processor's setting ``size``. Default: the checkpoint's.
        tokens_per_forward: maximum number of prompt tokens in a forward pass.
    """
    return {
        **engine_arguments(max_model_len),
        "max_num_batched_tokens": max(max_model_len, tokens_per_forward),
        "dtype": dtype,
        "hf_overrides": model_overrides(cue_recovery=cue_recovery, pixels=pixels),
        "additional_config": {"vicur": {"forbidden_ids": list(forbidden_ids)}},
        # Log-probabilities before temperature and truncation. The forbidden ids are masked by the model itself.
        "logprobs_mode": "raw_logprobs",
        # vLLM's own defaults, because sampling settings of the checkpoint would be combined with those of the trainer.
        "generation_config": "vllm",
    }


def flags(arguments: Mapping[str, Any]) -> list[str]:
    """Return engine arguments as command-line flags of ``vllm serve``."""
    words: list[str] = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return words
