"""Architecture and tokenizer of the tiny Qwen3-VL.

Hidden size 96, four decoder layers, a vision tower of two blocks with 8-pixel patches: a digit of a scene (16 x 16 pixels) becomes one
visual token. A teacher may be larger, with the same vocabulary and patches. Cue recovery uses interval 2: with the paper's interval of 5,
a model of four layers has one module, at layer 0, where visual tokens have not attended to anything but themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from vicur.config.tiny_base import TinySizes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3VLConfig
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
UNKNOWN = "<unk>"
_SIZES = TinySizes()
# Marks a preceding space, as in SentencePiece, so that decoding restores the text.
_SPACE = "\u2581"
_NEWLINE = _SPACE + "\n"
# Tokens of the hint marker "[Hint]:" at the start of a line.
_GLUED = (_SPACE, "[", "Hint", "]", ":")

# The parts of Qwen3-VL's template about text and images.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'text' -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""


def tiny_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """Build a word-level tokenizer with Qwen's special tokens and chat template. Order and duplicates of ``words`` do not matter."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = sorted({w if _is_mark(w) else _SPACE + w for w in [*words, "system", "user", "assistant"]})
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys([UNKNOWN, _NEWLINE, *_GLUED, *known]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("\n"), "isolated"),
            pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always", split=True),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        pad_token="<|endoftext|>",  # noqa: S106 (a token of text)
        eos_token="<|im_end|>",  # noqa: S106
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


def _is_mark(word: str) -> bool:
    return not any(c.isalnum() for c in word)


def tiny_image_processor(min_pixels: int = 16 * 16, max_pixels: int = 128 * 128) -> Qwen2VLImageProcessorPil:
    """Build Qwen3-VL's image processor with 8-pixel patches. Images between the limits, such as scenes, nearly keep their size."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(
        patch_size=8,
        temporal_patch_size=2,
        merge_size=2,
        size={"shortest_edge": min_pixels, "longest_edge": max_pixels},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def tiny_config(
    tokenizer: PreTrainedTokenizerFast, sizes: TinySizes = _SIZES, *, longest: int = 512, patches: int = 64
) -> Qwen3VLConfig:
    """Build the configuration of the tiny model for ``tokenizer``'s vocabulary.

    Args:
        longest: number of tokens of the longest prompt with its response.
        patches: number of positions that the vision tower learns, a square number; others are interpolated.
    """
    from transformers import Qwen3VLConfig

    def id_of(token: str) -> int:
        return int(str(tokenizer.convert_tokens_to_ids(token)))

    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": sizes.hidden_size,
            "intermediate_size": sizes.intermediate_size,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "num_key_value_heads": sizes.heads,
            "head_dim": 32,
            "max_position_embeddings": longest,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            "initializer_range": 0.06,
            "pad_token_id": id_of("<|endoftext|>"),
            "eos_token_id": id_of("<|im_end|>"),
            "bos_token_id": None,
        },
        vision_config={
            "depth": sizes.vision_layers,
            "hidden_size": sizes.vision_hidden_size,
            "intermediate_size": sizes.vision_intermediate_size,
            "num_heads": sizes.vision_heads,
            "patch_size": 8,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
            "out_hidden_size": sizes.hidden_size,
            "num_position_embeddings": patches,
            "deepstack_visual_indexes": [0],
            "initializer_range": 0.06,
        },
        image_token_id=id_of("<|image_pad|>"),
        video_token_id=id_of("<|video_pad|>"),
        vision_start_token_id=id_of("<|vision_start|>"),
        vision_end_token_id=id_of("<|vision_end|>"),
        tie_word_embeddings=True,
    )
