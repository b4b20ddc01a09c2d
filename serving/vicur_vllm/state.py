"""What vLLM's model runner keeps for the model beside its own state of the requests: where cue recovery acts in each prompt."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.v1.core.sched.output import NewRequestData
from vllm.v1.worker.gpu.input_batch import InputBatch
from vllm.v1.worker.gpu.mm.encoder_cache import EncoderCache
from vllm.v1.worker.gpu.model_states.default import DefaultModelState
from vllm.v1.worker.gpu.states import RequestState

from vicur_vllm.positions import PromptCues, Slice, forward_positions, prompt_cues


class StudentModelState(DefaultModelState):
    """vLLM's usual state, and the sinks and visual tokens of the running requests. Its forwards get them as ``cue_positions``."""

    def __init__(
        self, vllm_config: VllmConfig, model: nn.Module, encoder_cache: EncoderCache | None, device: torch.device
    ) -> None:
        super().__init__(vllm_config, model, encoder_cache, device)
        config = vllm_config.model_config.hf_config
        self._start_id = config.im_start_token_id if config.recovery_settings.sink == "assistant" else None
        self._cues: dict[str, PromptCues | None] = {}

    def add_request(self, req_index: int, new_req_data: NewRequestData) -> None:
        """Notes the prompt of a request that begins, or begins again after a preemption."""
        super().add_request(req_index, new_req_data)
        images = [feature.mm_position for feature in new_req_data.mm_features]
        self._cues[new_req_data.req_id] = prompt_cues(new_req_data.prompt_token_ids or (), images, self._start_id)

    def remove_request(self, req_id: str) -> None:
        """Forgets a request that has ended, was aborted or is preempted."""
        super().remove_request(req_id)
        self._cues.pop(req_id, None)

    def prepare_inputs(self, input_batch: InputBatch, req_states: RequestState) -> dict[str, Any]:
        """Arguments of a forward."""
        inputs: dict[str, Any] = super().prepare_inputs(input_batch, req_states)
        return {**inputs, "cue_positions": forward_positions(self.slices(input_batch), self.device)}

    def slices(self, input_batch: InputBatch) -> list[Slice]:
        """What a forward holds of each request, in the order of its tokens."""
        return [
            Slice(self._cues.get(req_id), int(start), int(computed), int(scheduled), int(prefill))
            for req_id, start, computed, scheduled, prefill in zip(
                input_batch.req_ids,
                input_batch.query_start_loc_np,
                input_batch.num_computed_tokens_np,
                input_batch.num_scheduled_tokens,
                input_batch.prefill_len_np,
                strict=False,
            )
        ]
