"""Models that take part in a training: a student or a teacher whose every score is of the training's one distribution.

What the training never samples has no probability: the ids in ``additional_config["vicur"]["forbidden_ids"]``. So the log-probabilities
that vLLM takes before temperature and truncation, those of prompts among them, are the trainer's. Images are prepared by Pillow, as
the trainer prepares them, also for a model without cue recovery.
"""

from __future__ import annotations

import torch
from torch import Tensor
from vllm.config import VllmConfig
from vllm.model_executor.models.qwen3_vl import (
    Qwen3VLDummyInputsBuilder,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMultiModalProcessor,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from vicur_vllm.model import Qwen3VLStudentForConditionalGeneration
from vicur_vllm.prompts import StudentMultiModalProcessor, StudentProcessingInfo


def _forbidden(config: VllmConfig) -> Tensor:
    """Ids without probability [F]; on the device that the model is built on."""
    return torch.tensor(config.additional_config["vicur"]["forbidden_ids"], dtype=torch.long)


def _masked(logits: Tensor | None, forbidden: Tensor) -> Tensor | None:
    return logits if logits is None else logits.index_fill_(-1, forbidden, float("-inf"))


@MULTIMODAL_REGISTRY.register_processor(
    StudentMultiModalProcessor, info=StudentProcessingInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class ScoredStudent(Qwen3VLStudentForConditionalGeneration):
    """A student with cue recovery."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "model") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self._forbidden = _forbidden(vllm_config)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Logits of the tokens that the training samples."""
        return _masked(super().compute_logits(hidden_states), self._forbidden)


@MULTIMODAL_REGISTRY.register_processor(
    Qwen3VLMultiModalProcessor, info=StudentProcessingInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class ScoredBackbone(Qwen3VLForConditionalGeneration):
    """A Qwen3-VL without cue recovery."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "model") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self._forbidden = _forbidden(vllm_config)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Logits of the tokens that the training samples."""
        logits: Tensor | None = super().compute_logits(hidden_states)
        return _masked(logits, self._forbidden)
