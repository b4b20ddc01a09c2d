"""Models as a server or a training runs them: what training never samples has no probability, and images are prepared as in training.

So is every score of the training's one distribution: the log-probabilities that vLLM takes before temperature and truncation, and those of
prompts. Which ids are never sampled says the checkpoint's own tokenizer, or a training (``additional_config["vicur"]["forbidden_ids"]``).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
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


class _SamplesAsTrained:
    """Adds to a model of vLLM that vision placeholders and control tokens have no probability."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "model") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        model = vllm_config.model_config
        told = vllm_config.additional_config
        given = told.get("vicur", {}).get("forbidden_ids") if isinstance(told, dict) else None
        self._forbidden_F = (
            Chat.load(Path(model.model)).forbidden_ids(model.get_vocab_size())
            if given is None
            else torch.tensor(given, dtype=torch.long)
        )

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """As the model has it, without the ids that training masks."""
        logits: Tensor | None = super().compute_logits(hidden_states)  # type: ignore[misc]
        if logits is not None:
            self._forbidden_F = self._forbidden_F.to(logits.device)
            logits.index_fill_(-1, self._forbidden_F, float("-inf"))
        return logits


@MULTIMODAL_REGISTRY.register_processor(
    StudentMultiModalProcessor, info=StudentProcessingInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class ServedStudent(_SamplesAsTrained, Qwen3VLStudentForConditionalGeneration):
    """A student with cue recovery."""


@MULTIMODAL_REGISTRY.register_processor(
    Qwen3VLMultiModalProcessor, info=StudentProcessingInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class ServedBackbone(_SamplesAsTrained, Qwen3VLForConditionalGeneration):
    """A plain Qwen3-VL: a student without the module, or a base."""
