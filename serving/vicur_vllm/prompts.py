"""How a student's prompts are prepared in vLLM: as in training."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl import Qwen3VLProcessor
from vllm.exceptions import VLLMValidationError
from vllm.inputs import MultiModalInput
from vllm.model_executor.models.qwen3_vl import Qwen3VLMultiModalProcessor, Qwen3VLProcessingInfo
from vllm.multimodal.processing import ProcessorInputs, TimingContext


@lru_cache
def _image_processor(folder: str, revision: str) -> Qwen2VLImageProcessorPil:
    return Qwen2VLImageProcessorPil.from_pretrained(folder, revision=revision)


class StudentProcessingInfo(Qwen3VLProcessingInfo):
    """As vLLM has it, with the image processor that the student was trained with: torchvision's resizes images to other pixels."""

    def get_hf_processor(self, **kwargs: object) -> Qwen3VLProcessor:
        """The processor; it is vLLM's own but for the images, so it is not the one that vLLM shares."""
        processor: Qwen3VLProcessor = copy.copy(super().get_hf_processor(**kwargs))
        model = self.ctx.model_config
        processor.image_processor = _image_processor(model.model, model.revision or "main")
        return processor


class StudentMultiModalProcessor(Qwen3VLMultiModalProcessor):
    """As vLLM has it; prompts that would be misread are refused while they are a request's fault only."""

    def apply(self, inputs: ProcessorInputs, timing_ctx: TimingContext) -> MultiModalInput:
        """Prepares one prompt with its images.

        Raises:
            VLLMValidationError: where its text holds image placeholders of its own, or no turn where the sink would be.
        """
        prepared = super().apply(inputs, timing_ctx)
        config: Any = self.info.get_hf_config()
        ids = prepared["prompt_token_ids"]
        ranges = [image for images in prepared["mm_placeholders"].values() for image in images]
        placeholders = sum(ids.count(token) for token in (config.image_token_id, config.video_token_id))
        if placeholders != sum(image.get_num_embeds() for image in ranges):
            raise VLLMValidationError(
                "The prompt holds more image or video placeholders than images. Spell them out as text, or leave them out."
            )
        if ranges and config.recovery_settings.sink == "assistant" and config.im_start_token_id not in ids:
            raise VLLMValidationError(
                "The prompt holds images and no <|im_start|>, where the sink of this student would be. Use its chat template."
            )
        return prepared
