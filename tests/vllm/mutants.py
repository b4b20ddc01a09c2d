"""Faulty variants of the plugin. Each has one mistake that other ports of cue recovery have made, without the checks that prevent it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers.models.qwen2_vl import Qwen2VLImageProcessor
from vllm import ModelRegistry
from vllm.model_executor.models.qwen3_vl import Qwen3VLDummyInputsBuilder
from vllm.multimodal import MULTIMODAL_REGISTRY

import vicur_vllm.model
import vicur_vllm.positions
from vicur.modeling.positions import CuePositions, find_sequences, locate
from vicur_vllm.model import Qwen3VLStudentForConditionalGeneration as Student
from vicur_vllm.positions import AttentionMetadata, ForwardTokens, forward_positions
from vicur_vllm.prompts import StudentMultiModalProcessor, StudentProcessingInfo

_PROCESSING = {"info": StudentProcessingInfo, "dummy_inputs": Qwen3VLDummyInputsBuilder}


def install(name: str) -> None:
    """Register a mutant instead of the student, and disable the limits."""
    vicur_vllm.model.require_limits = lambda _: None
    ModelRegistry.register_model(Student.__name__, f"{__name__}:{name}")


class _Mutant(Student):
    """Finds positions in a forward pass without checking that it has the whole prompt."""

    def locate(self, tokens: ForwardTokens, metadata: AttentionMetadata) -> CuePositions | None:
        boundaries = metadata.query_start_loc
        whole = SimpleNamespace(
            query_start_loc=boundaries, seq_lens=boundaries.diff(), max_query_len=metadata.max_query_len
        )
        return forward_positions(tokens, whole)


@MULTIMODAL_REGISTRY.register_processor(StudentMultiModalProcessor, **_PROCESSING)
class WithoutGuards(_Mutant):
    """Allows settings that are rejected otherwise: prefix caching, split prompts."""


@MULTIMODAL_REGISTRY.register_processor(StudentMultiModalProcessor, **_PROCESSING)
class WithoutModule(_Mutant):
    """Runs without cue recovery."""

    def recover(self, layer: int, hidden_TH: Tensor, residual_TH: Tensor) -> tuple[Tensor, Tensor]:
        return hidden_TH, residual_TH


@MULTIMODAL_REGISTRY.register_processor(StudentMultiModalProcessor, **_PROCESSING)
class WithoutResidual(_Mutant):
    """Applies cue recovery to the output of the last sub-layer instead of the hidden state."""

    def recover(self, layer: int, hidden_TH: Tensor, residual_TH: Tensor) -> tuple[Tensor, Tensor]:
        if self._positions is None:
            return hidden_TH, residual_TH
        return self.cue_recovery(self._positions, layer, hidden_TH[None])[0], residual_TH


@MULTIMODAL_REGISTRY.register_processor(StudentMultiModalProcessor, **_PROCESSING)
class BoundariesFromPositions(_Mutant):
    """Starts a new sequence wherever the text positions are not consecutive."""

    def forward(self, input_ids: Tensor | None, positions: Tensor, *args: Any, **kwargs: Any) -> Any:
        self._text_positions = positions[0]
        return super().forward(input_ids, positions, *args, **kwargs)

    def locate(self, tokens: ForwardTokens, metadata: AttentionMetadata) -> CuePositions | None:
        if not tokens.visual_T.any():
            return None
        count = len(tokens.visual_T)
        ids_1T = find_sequences((1, count), tokens.visual_T.device, position_ids=self._text_positions[None, :count])
        return locate(ids_1T, tokens.visual_T[None])


@MULTIMODAL_REGISTRY.register_processor(StudentMultiModalProcessor, **_PROCESSING)
class OneSequence(_Mutant):
    """Treats a forward pass as one sequence with a single sink for all images."""

    def locate(self, tokens: ForwardTokens, metadata: AttentionMetadata) -> CuePositions | None:
        whole = torch.tensor([0, len(tokens.visual_T)])
        return forward_positions(
            tokens, SimpleNamespace(query_start_loc=whole, seq_lens=whole[1:], max_query_len=int(whole[1]))
        )


@MULTIMODAL_REGISTRY.register_processor(StudentMultiModalProcessor, **_PROCESSING)
class PromptsOnly(_Mutant):
    """Computes the places of sinks as if there were no tokens of responses between the prompts."""

    def locate(self, tokens: ForwardTokens, metadata: AttentionMetadata) -> CuePositions | None:
        positions = super().locate(tokens, metadata)
        if positions is None:
            return None
        single_Q = metadata.query_start_loc.diff() == 1
        before_S = torch.stack([single_Q[metadata.query_start_loc[:-1] < sink].sum() for sink in positions.sinks_S])
        return replace(positions, sinks_S=positions.sinks_S - before_S)


@MULTIMODAL_REGISTRY.register_processor(StudentMultiModalProcessor, **_PROCESSING)
class OtherSink(_Mutant):
    """Uses the token after the sink."""

    def locate(self, tokens: ForwardTokens, metadata: AttentionMetadata) -> CuePositions | None:
        positions = super().locate(tokens, metadata)
        return positions and replace(positions, sinks_S=positions.sinks_S + 1)


class _TorchvisionInfo(StudentProcessingInfo):
    def get_hf_processor(self, **kwargs: object) -> Any:
        processor = super().get_hf_processor(**kwargs)
        processor.image_processor = Qwen2VLImageProcessor.from_pretrained(self.ctx.model_config.model)
        return processor


@MULTIMODAL_REGISTRY.register_processor(
    StudentMultiModalProcessor, info=_TorchvisionInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class OtherPixels(_Mutant):
    """Resizes images with torchvision instead of as in training."""
