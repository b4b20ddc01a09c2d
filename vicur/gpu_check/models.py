"""Models for the check, built on the spot with random weights: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from vicur.config.tiny_base import TinySizes
from vicur.data.digit_scenes import vocabulary
from vicur.modeling import save_model
from vicur.modeling.chat import Chat
from vicur.modeling.tiny.architecture import tiny_config, tiny_image_processor, tiny_tokenizer
from vicur.planning.architecture import published_config, published_sizes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

# Of the published image processor.
_PATCH, _MERGE = 16, 2
# Wide enough for the tensors of a model to dominate what a process takes, and small enough for a step on one core.
_WIDE = TinySizes(hidden_size=384, intermediate_size=1024, layers=6, heads=12)
_TINY = {"tiny": (TinySizes(), 1), "wide": (_WIDE, 8192)}
SHAPES = (*_TINY, *(size.lower() for size in published_sizes()))
"""Names of the shapes: the tiny model, a wider one for measurements of memory on a CPU, and the published sizes."""


class EndlessChat(Chat):
    """A chat that never samples the end of a turn, so that all responses have the same length."""

    def forbidden_ids(self, vocabulary: int) -> Tensor:
        return torch.cat([super().forbidden_ids(vocabulary), torch.tensor([self.end_id])]).sort().values


def save_random(folder: Path, shape: str, device: str, dtype: torch.dtype, longest: int) -> None:
    """Save a checkpoint of a shape with random weights, a tokenizer of the shape's vocabulary and an image processor.

    Args:
        device: where the weights are drawn; a GPU draws those of 2B in a second.
        longest: number of tokens of the longest prompt with its response.
    """
    if shape in _TINY:
        sizes, words = _TINY[shape]
        tokenizer = _tokenizer(words)
        config = tiny_config(tokenizer, sizes, longest=max(512, longest))
        processor = tiny_image_processor()
    else:
        config = published_config(shape.upper())
        tokenizer = _tokenizer(config.get_text_config().vocab_size)
        _use_ids(config, tokenizer)
        processor = _published_processor()
    tokenizer.model_max_length = max(512, longest)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = Qwen3VLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    save_model(model, folder)
    Chat(tokenizer, processor).save(folder)


def _tokenizer(size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of at least ``size`` tokens: unused words make a small vocabulary as large as a real one."""
    words = vocabulary()
    missing = size - len(tiny_tokenizer(words))
    return tiny_tokenizer([*words, *(f"filler{number}" for number in range(missing))])


def _use_ids(config: Qwen3VLConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    places = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    for name, token in places.items():
        setattr(config, name, tokenizer.convert_tokens_to_ids(token))
    text: Any = config.text_config
    text.pad_token_id = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    text.eos_token_id = tokenizer.convert_tokens_to_ids("<|im_end|>")
    text.bos_token_id = None


def _published_processor() -> Qwen2VLImageProcessorPil:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(
        patch_size=_PATCH,
        temporal_patch_size=2,
        merge_size=_MERGE,
        size={"shortest_edge": 65_536, "longest_edge": 16_777_216},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
