"""The log-probabilities of given responses, under the one distribution that rollout, student and teacher share.

What sampling never draws (``Chat.forbidden_ids``) has no probability anywhere: it is masked and the rest renormalised. Only response
positions are projected to the vocabulary, in tiles: no tensor [tokens, vocabulary] is ever held.
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
    """What a forward leaves of a batch's responses, before anything is projected to the vocabulary.

    Attributes:
        hidden_NH: states that predict the N response tokens, row by row.
        targets_N: those tokens.
        mask_BR: true at tokens of a response, false at padding; N of them.
        head_VH: weights of the model's output layer.
    """

    hidden_NH: Tensor
    targets_N: Tensor
    mask_BR: Tensor
    head_VH: Tensor

    def to(self, device: torch.device) -> ResponseStates:
        """The same on another device."""
        return ResponseStates(*(getattr(self, each.name).to(device) for each in fields(self)))

    def padded(self, values_N: Tensor) -> Tensor:
        """Values of the tokens, row by row, as [B, R], zero at padding."""
        return values_N.new_zeros(self.mask_BR.shape).masked_scatter(self.mask_BR, values_N)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of a batch's responses, zero at padding.

    Attributes:
        logprobs_BR: log-probability of each response token [B, R].
        entropy_BR: entropy of the distribution that it was drawn from, in nats, without gradient [B, R].
    """

    logprobs_BR: Tensor
    entropy_BR: Tensor


def text_config(model: Qwen3VLForConditionalGeneration) -> Qwen3VLTextConfig:
    """Configuration of a model's text backbone (transformers types it as any configuration)."""
    config = model.config.text_config
    assert isinstance(config, Qwen3VLTextConfig)
    return config


def response_states(
    model: Qwen3VLForConditionalGeneration, batch: Batch, features: Mapping[str, ImageFeatures]
) -> ResponseStates:
    """States before the response tokens of ``batch``, in one plain forward.

    Called below the forward of whatever module shards or replicates the model, so that the output layer's weights are whole.

    Args:
        model: the student or the teacher.
        batch: prompts with responses.
        features: features of the batch's images from this model's vision tower.

    Raises:
        VicurError: where the output layer is more than a matrix.
    """
    head_VH = output_weights(model)
    hidden_BTH = model.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        mm_token_type_ids=batch.mm_token_type_ids,
        mm_encoder_outputs=encoder_outputs(features, batch.pixels),
        image_grid_thw=batch.grids,
        use_cache=False,
    )[0]
    mask_BR = batch.response_mask
    # The state before a token predicts it.
    hidden_NH = hidden_BTH[:, batch.prompt_length - 1 : -1][mask_BR]
    return ResponseStates(output_input(hidden_NH), batch.input_ids[:, batch.prompt_length :][mask_BR], mask_BR, head_VH)


def token_scores(states: ResponseStates, forbidden: Tensor) -> Scores:
    """Scores of the response tokens, with their graph.

    Args:
        states: states of the responses.
        forbidden: ids that have no probability, sorted.
    """
    logprobs_N1, entropy_N = token_logprobs(states.hidden_NH, states.head_VH, states.targets_N[:, None], forbidden)
    return Scores(states.padded(logprobs_N1[:, 0]), states.padded(entropy_N))


def score_responses(
    model: Qwen3VLForConditionalGeneration, batch: Batch, features: Mapping[str, ImageFeatures], forbidden: Tensor
) -> Scores:
    """:func:`token_scores` of :func:`response_states`."""
    return token_scores(response_states(model, batch, features), forbidden)


def output_input(hidden_NH: Tensor) -> Tensor:
    """Hidden states as an output layer would take them under autocast; the tiles are not computed by one."""
    device = hidden_NH.device.type
    return hidden_NH.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else hidden_NH


def output_weights(model: Qwen3VLForConditionalGeneration) -> Tensor:
    """Weights of a model's output layer [V, H].

    Raises:
        VicurError: where that is more than a matrix.
    """
    head = model.lm_head
    if not isinstance(head, nn.Linear) or head.bias is not None:
        raise VicurError(
            f"the output layer is a {type(head).__name__} and computes more than a product with its weights.",
            where="lm_head",
            remedy="Leave lm_head as it is: adapters belong into the decoder layers.",
        )
    return head.weight
