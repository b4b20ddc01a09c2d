"""The log-probabilities of given responses, under the one distribution that rollout, student and teacher share.

What sampling never draws (``Chat.forbidden_ids``) has no probability anywhere: it is masked and the rest renormalised. Only response
positions are projected to the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig

from vicur.modeling.chat import Batch
from vicur.modeling.vision import ImageFeatures, encoder_outputs


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of a batch's responses, zero at padding.

    Attributes:
        logprobs_BR: log-probability of each response token [B, R].
        entropy_BR: entropy of the distribution that it was drawn from, in nats, without gradient [B, R].
        distributions_NV: log-probabilities of the whole vocabulary at the N response tokens, row by row, where they were asked for.
    """

    logprobs_BR: Tensor
    entropy_BR: Tensor
    distributions_NV: Tensor | None = None


def position_ids(model: Qwen3VLForConditionalGeneration, batch: Batch) -> Tensor:
    """M-RoPE positions of a batch [3, B, T]. Given explicitly, since the model would keep those of its last call as state."""
    positions, _ = model.model.get_rope_index(
        batch.input_ids, batch.mm_token_type_ids, image_grid_thw=batch.grids, attention_mask=batch.attention_mask
    )
    return torch.as_tensor(positions)


def text_config(model: Qwen3VLForConditionalGeneration) -> Qwen3VLTextConfig:
    """Configuration of a model's text backbone (transformers types it as any configuration)."""
    config = model.config.text_config
    assert isinstance(config, Qwen3VLTextConfig)
    return config


def masked_logprobs(logits: Tensor, forbidden: Tensor) -> Tensor:
    """Log-probabilities over the vocabulary without the forbidden ids, in float32 [..., V]."""
    return logits.float().index_fill(-1, forbidden, float("-inf")).log_softmax(-1)


def score_responses(
    model: Qwen3VLForConditionalGeneration,
    batch: Batch,
    features: Mapping[str, ImageFeatures],
    forbidden: Tensor,
    *,
    distributions: bool = False,
) -> Scores:
    """Scores the responses of ``batch`` in one plain forward.

    Args:
        model: the student or the teacher.
        batch: prompts with responses.
        features: features of the batch's images from this model's vision tower.
        forbidden: ids that have no probability.
        distributions: whether to keep the distribution over the vocabulary at each token.
    """
    hidden_BTH = model.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=position_ids(model, batch),
        mm_token_type_ids=batch.mm_token_type_ids,
        mm_encoder_outputs=encoder_outputs(features, batch.pixels),
        image_grid_thw=batch.grids,
        use_cache=False,
    )[0]
    mask_BR = batch.response_mask
    # The state before a token predicts it.
    hidden_NH = hidden_BTH[:, batch.prompt_length - 1 : -1][mask_BR]
    targets_N = batch.input_ids[:, batch.prompt_length :][mask_BR]
    logprobs_NV = masked_logprobs(model.lm_head(hidden_NH), forbidden)
    logprobs_BR = hidden_BTH.new_zeros(mask_BR.shape, dtype=torch.float32)
    chosen_N = logprobs_NV.gather(-1, targets_N[:, None])[:, 0]
    entropy_BR = torch.zeros_like(logprobs_BR)
    with torch.no_grad():
        # A masked id contributes 0 * -inf, which counts as 0.
        entropy_BR[mask_BR] = -(logprobs_NV.exp() * logprobs_NV.clamp(min=-1e4)).sum(-1)
    return Scores(logprobs_BR.masked_scatter(mask_BR, chosen_N), entropy_BR, logprobs_NV if distributions else None)
