"""Models for serving and training, which mask the tokens that training never samples and prepare images as training does.

The mask applies to all scores, including the raw log-probabilities that vLLM computes before temperature and truncation, and those of
prompts. The masked ids come from ``additional_config["vicur"]["forbidden_ids"]`` in training, else from the checkpoint's tokenizer.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.model_executor.models.qwen3_vl import (
    Qwen3VLDummyInputsBuilder,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMultiModalProcessor,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from vicur.modeling.chat import Chat
from vicur_vllm.model import Qwen3VLStudentForConditionalGeneration
from vicur_vllm.prompts import StudentMultiModalProcessor, StudentProcessingInfo


class _SamplesAsTrained(nn.Module):
    """Mixin that gives vision placeholders and control tokens probability 0."""

    _forbidden_F: Tensor

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "model") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        model = vllm_config.model_config
        additional = vllm_config.additional_config
        ids = additional.get("vicur", {}).get("forbidden_ids") if isinstance(additional, dict) else None
        forbidden_F = (
            Chat.load(Path(model.model)).forbidden_ids(model.get_vocab_size())
            if ids is None
            else torch.tensor(ids, dtype=torch.long)
        )
        # A buffer, because an engine that sleeps loses all other tensors on its GPU.
        self.register_buffer("_forbidden_F", forbidden_F, persistent=False)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        logits: Tensor | None = super().compute_logits(hidden_states)  # type: ignore[misc]
        if logits is not None:
            logits.index_fill_(-1, self._forbidden_F.to(logits.device), float("-inf"))
        return logits


@MULTIMODAL_REGISTRY.register_processor(
    StudentMultiModalProcessor, info=StudentProcessingInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class ServedStudent(_SamplesAsTrained, Qwen3VLStudentForConditionalGeneration):
    """Student with cue recovery."""


@MULTIMODAL_REGISTRY.register_processor(
    Qwen3VLMultiModalProcessor, info=StudentProcessingInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class ServedBackbone(_SamplesAsTrained, Qwen3VLForConditionalGeneration):
    """Plain Qwen3-VL: a student without cue recovery, or a base model."""
