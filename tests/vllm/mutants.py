"""Faulty builds of the plugin: each makes one mistake that other ports of the module have made, with the guards against it taken out."""

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


def put_in(name: str) -> None:
    """Registers a mutant in the place of the student, without what would stop it."""
    vicur_vllm.model.require_limits = lambda _: None
    ModelRegistry.register_model(Student.__name__, f"{__name__}:{name}")


class _Mutant(Student):
    """Looks for positions in what a forward holds, without asking whether that is all of a prompt."""

    def locate(self, tokens: ForwardTokens, metadata: AttentionMetadata) -> CuePositions | None:
        boundaries = metadata.query_start_loc
        whole = SimpleNamespace(
            query_start_loc=boundaries, seq_lens=boundaries.diff(), max_query_len=metadata.max_query_len
        )
        return forward_positions(tokens, whole)


@MULTIMODAL_REGISTRY.register_processor(StudentMultiModalProcessor, **_PROCESSING)
class WithoutGuards(_Mutant):
    """For settings that are refused: prefix caching, split prompts."""


@MULTIMODAL_REGISTRY.register_processor(StudentMultiModalProcessor, **_PROCESSING)
class WithoutModule(_Mutant):
    """A plain Qwen3-VL."""

    def recover(self, layer: int, hidden_TH: Tensor, residual_TH: Tensor) -> tuple[Tensor, Tensor]:
        return hidden_TH, residual_TH


@MULTIMODAL_REGISTRY.register_processor(StudentMultiModalProcessor, **_PROCESSING)
class WithoutResidual(_Mutant):
    """The module gets what the last sub-layer gave, not the state."""

    def recover(self, layer: int, hidden_TH: Tensor, residual_TH: Tensor) -> tuple[Tensor, Tensor]:
        if self._positions is None:
            return hidden_TH, residual_TH
        return self.cue_recovery(self._positions, layer, hidden_TH[None])[0], residual_TH


@MULTIMODAL_REGISTRY.register_processor(StudentMultiModalProcessor, **_PROCESSING)
class BoundariesFromPositions(_Mutant):
    """Sequences begin where the text's positions do not count up."""

    def forward(self, input_ids: Tensor | None, positions: Tensor, *args: Any, **kwargs: Any) -> Any:
        self._guessed = positions[0]
        return super().forward(input_ids, positions, *args, **kwargs)

    def locate(self, tokens: ForwardTokens, metadata: AttentionMetadata) -> CuePositions | None:
        if not tokens.visual_T.any():
            return None
        count = len(tokens.visual_T)
        ids_1T = find_sequences((1, count), tokens.visual_T.device, position_ids=self._guessed[None, :count])
        return locate(ids_1T, tokens.visual_T[None])


@MULTIMODAL_REGISTRY.register_processor(StudentMultiModalProcessor, **_PROCESSING)
class OneSequence(_Mutant):
    """A forward is taken for one sequence: its first token is the only sink, and all images are its."""

    def locate(self, tokens: ForwardTokens, metadata: AttentionMetadata) -> CuePositions | None:
        whole = torch.tensor([0, len(tokens.visual_T)])
        return forward_positions(
            tokens, SimpleNamespace(query_start_loc=whole, seq_lens=whole[1:], max_query_len=int(whole[1]))
        )


@MULTIMODAL_REGISTRY.register_processor(StudentMultiModalProcessor, **_PROCESSING)
class PromptsOnly(_Mutant):
    """Sinks are counted as if a forward held prompts alone, without the tokens of responses among them."""

    def locate(self, tokens: ForwardTokens, metadata: AttentionMetadata) -> CuePositions | None:
        found = super().locate(tokens, metadata)
        if found is None:
            return None
        single_Q = metadata.query_start_loc.diff() == 1
        before_S = torch.stack([single_Q[metadata.query_start_loc[:-1] < sink].sum() for sink in found.sinks_S])
        return replace(found, sinks_S=found.sinks_S - before_S)


@MULTIMODAL_REGISTRY.register_processor(StudentMultiModalProcessor, **_PROCESSING)
class OtherSink(_Mutant):
    """The token after the sink asks."""

    def locate(self, tokens: ForwardTokens, metadata: AttentionMetadata) -> CuePositions | None:
        found = super().locate(tokens, metadata)
        return found and replace(found, sinks_S=found.sinks_S + 1)


class _TorchvisionInfo(StudentProcessingInfo):
    def get_hf_processor(self, **kwargs: object) -> Any:
        processor = super().get_hf_processor(**kwargs)
        processor.image_processor = Qwen2VLImageProcessor.from_pretrained(self.ctx.model_config.model)
        return processor


@MULTIMODAL_REGISTRY.register_processor(
    StudentMultiModalProcessor, info=_TorchvisionInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class OtherPixels(_Mutant):
    """Images are resized by torchvision, not as in training."""
