"""The student model, its prompts and its generation.

Importing this package registers students with transformers: ``AutoConfig``, ``AutoModel``, ``AutoModelForImageTextToText`` and
``AutoProcessor`` (which requires torchvision) then load their folders like those of Qwen3-VL.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor, Qwen3VLProcessor

from vicur.modeling.attention import SinkAttentionMaps, sink_attention
from vicur.modeling.checkpoint import (
    load_model,
    parameter_count,
    read_config,
    save_model,
    with_cue_recovery,
    without_cue_recovery,
)
from vicur.modeling.image_blocking import block_images
from vicur.modeling.student import Qwen3VLStudentConfig, Qwen3VLStudentForConditionalGeneration, Qwen3VLStudentModel

AutoConfig.register(Qwen3VLStudentConfig.model_type, Qwen3VLStudentConfig, exist_ok=True)
AutoModel.register(Qwen3VLStudentConfig, Qwen3VLStudentModel, exist_ok=True)
AutoModelForImageTextToText.register(Qwen3VLStudentConfig, Qwen3VLStudentForConditionalGeneration, exist_ok=True)
# Without it, AutoProcessor would return the tokenizer alone, which ignores images.
AutoProcessor.register(Qwen3VLStudentConfig, Qwen3VLProcessor, exist_ok=True)

__all__ = [
    "Qwen3VLStudentConfig",
    "Qwen3VLStudentForConditionalGeneration",
    "Qwen3VLStudentModel",
    "SinkAttentionMaps",
    "block_images",
    "load_model",
    "parameter_count",
    "read_config",
    "save_model",
    "sink_attention",
    "with_cue_recovery",
    "without_cue_recovery",
]
