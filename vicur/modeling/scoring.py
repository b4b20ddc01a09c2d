"""Log-probabilities of given responses, under the one distribution that rollout, student and teacher share.

Ids that are never sampled (``Chat.forbidden_ids``) are masked everywhere and the rest is renormalised. Only response positions are
projected to the vocabulary, in tiles, so no tensor [tokens, vocabulary] exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig

from vicur.errors import VicurError
from vicur.modeling.chat import Batch
from vicur.modeling.token_logprobs import token_logprobs
from vicur.modeling.vision import ImageFeatures, encoder_outputs


@dataclass(frozen=True, eq=False)
class ResponseStates:
    """Hidden states of a batch's responses, before the projection to the vocabulary."""

    hidden_NH: Tensor  # states that predict the N response tokens, row by row
    targets_N: Tensor  # those tokens
    mask_BR: Tensor  # true at response tokens, false at padding
    head_VH: Tensor  # weights of the model's output layer

    def to(self, device: torch.device) -> ResponseStates:
        return ResponseStates(*(getattr(self, each.name).to(device) for each in fields(self)))

    def padded(self, values_N: Tensor) -> Tensor:
        """Arrange values of the tokens as [B, R], with zeros at padding."""
        return values_N.new_zeros(self.mask_BR.shape).masked_scatter(self.mask_BR, values_N)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of a batch's response tokens, zero at padding."""

    logprobs_BR: Tensor
    entropy_BR: Tensor  # of the distributions, in nats, without gradient


def text_config(model: Qwen3VLForConditionalGeneration) -> Qwen3VLTextConfig:
    """Return the configuration of a model's text backbone."""
    # transformers declares it as a generic configuration.
    config = model.config.text_config
    assert isinstance(config, Qwen3VLTextConfig)
    return config


def response_states(
    model: Qwen3VLForConditionalGeneration, batch: Batch, features: Mapping[str, ImageFeatures]
) -> ResponseStates:
    """Compute the states that predict the response tokens of ``batch``, in one plain forward."""
    # Call this inside the forward of a module that shards or replicates the model: the weights are complete only there.
    head_VH = output_weights(model)
    hidden_BTH = model.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        mm_token_type_ids=batch.mm_token_type_ids,
        mm_encoder_outputs=encoder_outputs(features, batch.pixels),
        image_grid_thw=batch.grids,
        video_grid_thw=batch.video_grids,
        use_cache=False,
    )[0]
    mask_BR = batch.response_mask
    # The state before a token predicts it.
    hidden_NH = hidden_BTH[:, batch.prompt_length - 1 : -1][mask_BR]
    return ResponseStates(output_input(hidden_NH), batch.input_ids[:, batch.prompt_length :][mask_BR], mask_BR, head_VH)


def token_scores(states: ResponseStates, forbidden: Tensor) -> Scores:
    """Score the response tokens, differentiably. ``forbidden`` ids are sorted and have no probability."""
    logprobs_N1, entropy_N = token_logprobs(states.hidden_NH, states.head_VH, states.targets_N[:, None], forbidden)
    return Scores(states.padded(logprobs_N1[:, 0]), states.padded(entropy_N))


def score_responses(
    model: Qwen3VLForConditionalGeneration, batch: Batch, features: Mapping[str, ImageFeatures], forbidden: Tensor
) -> Scores:
    """:func:`token_scores` of :func:`response_states`."""
    return token_scores(response_states(model, batch, features), forbidden)


def output_input(hidden_NH: Tensor) -> Tensor:
    """Cast hidden states as autocast would for the output layer, because the tiles are computed outside of autocast."""
    device = hidden_NH.device.type
    return hidden_NH.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else hidden_NH


def output_weights(model: Qwen3VLForConditionalGeneration) -> Tensor:
    """Return the weights of a model's output layer [V, H].

    Raises:
        VicurError: if the layer is more than a matrix.
    """
    head = model.lm_head
    if not isinstance(head, nn.Linear) or head.bias is not None:
        raise VicurError(
            f"the output layer must be a linear layer without bias, but is a {type(head).__name__}.",
            where="lm_head",
            remedy="Do not modify lm_head. Apply adapters to the decoder layers only.",
        )
    return head.weight
