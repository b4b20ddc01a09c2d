"""Prepare prompts and images for students in vLLM as in training."""

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

from vicur_vllm.arguments import PIXELS


@lru_cache
def _image_processor(folder: str, revision: str) -> Qwen2VLImageProcessorPil:
    return Qwen2VLImageProcessorPil.from_pretrained(folder, revision=revision)


class StudentProcessingInfo(Qwen3VLProcessingInfo):
    """vLLM's processing with the image processor of the training."""

    def get_hf_processor(self, **kwargs: object) -> Qwen3VLProcessor:
        """Return vLLM's processor with the image processor of the training."""
        # A copy, because vLLM caches and shares its processor. The image processor differs because torchvision resizes to other pixels.
        processor: Qwen3VLProcessor = copy.copy(super().get_hf_processor(**kwargs))
        model = self.ctx.model_config
        own = _image_processor(model.model, model.revision or "main")
        if (pixels := getattr(self.get_hf_config(), PIXELS, None)) is not None:
            own = copy.copy(own)
            own.size = {"shortest_edge": pixels[0], "longest_edge": pixels[1]}
        processor.image_processor = own
        return processor


class StudentMultiModalProcessor(Qwen3VLMultiModalProcessor):
    """vLLM's processor with additional checks of the prompt."""

    def apply(self, inputs: ProcessorInputs, timing_ctx: TimingContext) -> MultiModalInput:
        """Prepare a prompt with its images.

        Raises:
            VLLMValidationError: if the prompt has more placeholders than images, or no turn for the sink ``assistant``.
        """
        # Checked here, because an error at this point fails only the request. In the forward pass it would stop the engine.
        prepared = super().apply(inputs, timing_ctx)
        config: Any = self.info.get_hf_config()
        ids = prepared["prompt_token_ids"]
        ranges = [image for images in prepared["mm_placeholders"].values() for image in images]
        placeholders = sum(ids.count(token) for token in (config.image_token_id, config.video_token_id))
        if placeholders != sum(image.get_num_embeds() for image in ranges):
            raise VLLMValidationError(
                "The prompt has more image or video placeholders than images. Remove them, or tokenize them as text."
            )
        if ranges and config.recovery_settings.sink == "assistant" and config.im_start_token_id not in ids:
            raise VLLMValidationError(
                "The prompt has images but no <|im_start|>, which this student uses as its sink token. Use the chat template."
            )
        return prepared
