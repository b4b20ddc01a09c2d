"""A Qwen3-VL of a few million random weights and plans for it. It is large enough to make what a plan neglects negligible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from vicur.config.recovery import CueRecoverySettings
from vicur.modeling import save_model
from vicur.planning import PlanInput

PATCH, MERGE = 4, 2
IMAGE_TOKENS = 24
PROMPT, RESPONSE = 48, 80


def midsize_config() -> Qwen3VLConfig:
    """Return a configuration with hidden size 256, six decoder layers with grouped-query attention and three vision blocks."""
    return Qwen3VLConfig(
        text_config={
            "vocab_size": 512,
            "hidden_size": 256,
            "intermediate_size": 640,
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 32,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": 3,
            "hidden_size": 64,
            "intermediate_size": 160,
            "num_heads": 4,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "out_hidden_size": 256,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        image_token_id=5,
        video_token_id=6,
        vision_start_token_id=3,
        vision_end_token_id=4,
        tie_word_embeddings=True,
    )


def save_midsize(folder: Path) -> Path:
    """Save a checkpoint with random weights."""
    torch.manual_seed(0)
    save_model(Qwen3VLForConditionalGeneration(midsize_config()), folder)
    return folder


def plan_of(student: str | Path, **fields: Any) -> PlanInput:
    """Return a plan's input with short sequences and cue recovery at every second layer."""
    values = {
        "student": str(student),
        "recovery": CueRecoverySettings(interval=2),
        "steps": 7,
        "batch_size": 4,
        "max_prompt_tokens": PROMPT,
        "max_response_tokens": RESPONSE,
        "image_tokens": IMAGE_TOKENS,
        **fields,
    }
    return PlanInput.model_validate(values)
