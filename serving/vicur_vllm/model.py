"""The student in vLLM: its Qwen3-VL with cue recovery between the decoder layers.

vLLM's layers hand on a pair whose sum is the state: what the last sub-layer gave, with the deepstack addition, and the stream that it has
not been added to yet. Cue recovery reads and writes the sum. As in transformers, it acts in a hook before each layer, and vLLM's loop over
the layers is not copied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.model_executor.models.qwen3_vl import Qwen3VLDummyInputsBuilder, Qwen3VLForConditionalGeneration
from vllm.model_executor.models.utils import WeightsMapper
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.sequence import IntermediateTensors

from vicur.modeling.positions import CuePositions
from vicur.modeling.recovery import CueRecovery
from vicur.modeling.student import cue_recovery_of
from vicur_vllm.limits import require_limits
from vicur_vllm.prompts import StudentMultiModalProcessor, StudentProcessingInfo
from vicur_vllm.state import StudentModelState


@MULTIMODAL_REGISTRY.register_processor(
    StudentMultiModalProcessor, info=StudentProcessingInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class Qwen3VLStudentForConditionalGeneration(Qwen3VLForConditionalGeneration):
    """A student as it is saved, module on."""

    hf_to_vllm_mapper = Qwen3VLForConditionalGeneration.hf_to_vllm_mapper | WeightsMapper(
        orig_to_new_prefix={"model.cue_recovery.": "cue_recovery."}
    )

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "model") -> None:
        require_limits(vllm_config)
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.cue_recovery: CueRecovery = cue_recovery_of(vllm_config.model_config.hf_config)
        # Where it acts in the forward that is under way.
        self._positions: CuePositions | None = None
        layers = self.language_model.model.layers
        for layer in self.cue_recovery.attentions():
            layers[layer + 1].register_forward_pre_hook(partial(_recover_before, self.recover, layer))

    @staticmethod
    def get_model_state_cls() -> type[StudentModelState]:
        """The state that vLLM's model runner keeps for this model."""
        return StudentModelState

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: Tensor | None = None,
        cue_positions: CuePositions | None = None,
        **kwargs: Any,
    ) -> Tensor | IntermediateTensors:
        """As vLLM has it, with one argument more.

        Args:
            cue_positions: sinks and visual tokens among the tokens of the forward; none where it holds no prompt with images.
        """
        self._positions = cue_positions
        try:
            return super().forward(input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)
        finally:
            self._positions = None

    def recover(self, layer: int, hidden_TH: Tensor, residual_TH: Tensor) -> tuple[Tensor, Tensor]:
        """The pair after decoder layer ``layer``, whose sum is the state [T, H], with its sinks updated.

        At the sinks the whole state comes in the second: a sum of three would be rounded otherwise than in transformers.
        """
        positions = self._positions
        if positions is None:
            return hidden_TH, residual_TH
        sinks_S = positions.sinks_S
        state_TH = self.cue_recovery(positions, layer, (hidden_TH + residual_TH)[None])[0]
        return hidden_TH.index_fill(0, sinks_S, 0), residual_TH.index_copy(0, sinks_S, state_TH[sinks_S])


def _recover_before(
    recover: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]],
    layer: int,
    _module: nn.Module,
    args: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Hook before the decoder layer that follows ``layer``."""
    positions, hidden_TH, residual_TH = args
    return positions, *recover(layer, hidden_TH, residual_TH)
