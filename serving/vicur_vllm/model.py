"""Student model for vLLM: vLLM's Qwen3-VL with cue recovery between the decoder layers.

vLLM's decoder layers pass on a pair of tensors whose sum is the hidden state: the output of the last sub-layer with the deepstack addition
and the residual stream before that addition. Cue recovery reads and updates the sum. As in transformers, it runs in a forward pre-hook of
each layer, so that vLLM's loop over the layers does not have to be copied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.forward_context import get_forward_context
from vllm.model_executor.models.interfaces import MultiModalEmbeddings
from vllm.model_executor.models.qwen3_vl import Qwen3VLDummyInputsBuilder, Qwen3VLForConditionalGeneration
from vllm.model_executor.models.utils import WeightsMapper
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.sequence import IntermediateTensors

from vicur.modeling.positions import CuePositions
from vicur.modeling.recovery import CueRecovery
from vicur.modeling.student import Qwen3VLStudentConfig, build_cue_recovery
from vicur_vllm.limits import require_backend, require_limits
from vicur_vllm.positions import AttentionMetadata, ForwardTokens, forward_positions, tokens_of
from vicur_vllm.prompts import StudentMultiModalProcessor, StudentProcessingInfo


@MULTIMODAL_REGISTRY.register_processor(
    StudentMultiModalProcessor, info=StudentProcessingInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class Qwen3VLStudentForConditionalGeneration(Qwen3VLForConditionalGeneration):
    """Student with cue recovery."""

    hf_to_vllm_mapper = Qwen3VLForConditionalGeneration.hf_to_vllm_mapper | WeightsMapper(
        orig_to_new_prefix={"model.cue_recovery.": "cue_recovery."}
    )

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "model") -> None:
        require_limits(vllm_config)
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        config: Qwen3VLStudentConfig = vllm_config.model_config.hf_config
        self.cue_recovery: CueRecovery = build_cue_recovery(config)
        # The sink "assistant" is the start of the last turn of a prompt. Responses cannot start a turn, see compute_logits.
        self._start_id = config.im_start_token_id if config.recovery_settings.sink == "assistant" else None
        # Tokens of the next forward pass, and positions for cue recovery in the current one.
        self._tokens: ForwardTokens | None = None
        self._positions: CuePositions | None = None
        layers = self.language_model.model.layers
        self._attention = layers[0].self_attn.attn
        require_backend(self._attention.get_attn_backend().get_name())
        for layer in self.cue_recovery.attentions():
            layers[layer + 1].register_forward_pre_hook(partial(_recover_before, self.recover, layer))

    def embed_input_ids(
        self,
        input_ids: Tensor,
        multimodal_embeddings: MultiModalEmbeddings | None = None,
        *,
        is_multimodal: Tensor | None = None,
    ) -> Tensor:
        # Only here does vLLM pass the mask of image positions. Keep it for the forward pass that follows, as vLLM does with deepstack
        # features.
        self._tokens = tokens_of(input_ids, is_multimodal, self._start_id)
        embedded: Tensor = super().embed_input_ids(input_ids, multimodal_embeddings, is_multimodal=is_multimodal)
        return embedded

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor | IntermediateTensors:
        tokens, self._tokens = self._tokens, None
        metadata = get_forward_context().attn_metadata
        # vLLM's profiling runs have neither tokens nor metadata.
        if tokens is not None and metadata:
            self._positions = self.locate(tokens, metadata[self._attention.layer_name])
        try:
            return super().forward(input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)
        finally:
            self._positions = None

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Compute logits. With the sink ``assistant``, a response cannot start a turn, as in training."""
        # After a preemption, prompt and response are computed again together, and a turn in the response would become the sink.
        logits: Tensor | None = super().compute_logits(hidden_states)
        if logits is not None and self._start_id is not None:
            logits[..., self._start_id] = float("-inf")
        return logits

    def locate(self, tokens: ForwardTokens, metadata: AttentionMetadata) -> CuePositions | None:
        # A method, so that the faulty builds of the tests can override it.
        return forward_positions(tokens, metadata)

    def recover(self, layer: int, hidden_TH: Tensor, residual_TH: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pair of tensors after decoder layer ``layer``, whose sum is the hidden state [T, H], with updated sinks."""
        positions = self._positions
        if positions is None:
            return hidden_TH, residual_TH
        sinks_S = positions.sinks_S
        # At the sinks, the residual becomes the whole state: adding the update as a third term would round differently than transformers.
        state_TH = self.cue_recovery(positions, layer, (hidden_TH + residual_TH)[None])[0]
        return hidden_TH.index_fill(0, sinks_S, 0), residual_TH.index_copy(0, sinks_S, state_TH[sinks_S])


def _recover_before(
    recover: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]],
    layer: int,
    _module: nn.Module,
    args: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Forward pre-hook of the decoder layer after ``layer``."""
    positions, hidden_TH, residual_TH = args
    return positions, *recover(layer, hidden_TH, residual_TH)
