"""Batched generation with a KV cache, for rollouts and evaluation alike.

The loop is the project's own because it records what training needs: the log-probability of each token under exactly the
distribution that scoring uses. Greedy, it gives the tokens of transformers' ``generate``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, Qwen3VLForConditionalGeneration

from vicur.config.sampling import Sampling
from vicur.modeling.chat import Chat, Prompt
from vicur.modeling.image_blocking import visual_history
from vicur.modeling.sampling import PlainDraws, draw, is_plain
from vicur.modeling.scoring import output_input, output_weights, text_config
from vicur.modeling.vision import Encode, encode_images, encoder_outputs
from vicur.seeds import numpy_generator

# Rows that have ended are dropped once they are half of those in the batch: each drop copies what is left of the cache, and so all of them
# together copy no more than it held.
_DROP_AT = 0.5


@dataclass(frozen=True)
class Response:
    """One response.

    Attributes:
        ids: token ids, with the end of turn where it was reached.
        text: decoded text.
        logprobs: log-probability of each token before temperature and truncation.
        finished: whether the end of turn was reached.
    """

    ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    finished: bool


@torch.no_grad()
def generate(
    model: Qwen3VLForConditionalGeneration,
    chat: Chat,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    seed: int,
    batch_size: int = 128,
    encode: Encode | None = None,
    streams: Sequence[int] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Response]:
    """Answers ``prompts``, in their order.

    Args:
        model: the model; its mode (train or eval) is left as it is.
        chat: the model's chat.
        prompts: what to answer.
        sampling: how tokens are drawn.
        seed: root of the draws. Each prompt has a stream of its own: what it draws does not depend on the others.
        batch_size: prompts answered at once.
        encode: gives the features of a batch's images from the model's vision tower; by default the tower makes them, without a graph.
        streams: numbers of the prompts' streams; by default their places.
        on_progress: called with the number of answered prompts and of all after each batch.
    """
    forbidden = chat.forbidden_ids(text_config(model).vocab_size).to(model.device)
    encode = partial(encode_images, model) if encode is None else encode
    numbers = range(len(prompts)) if streams is None else streams
    # Prompts of like length share a batch: less padding.
    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n].ids))
    answers: dict[int, Response] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        uniforms_BR = _uniforms(seed, [numbers[n] for n in rows], sampling).to(model.device)
        answered = _generate_batch(model, chat, [prompts[n] for n in rows], sampling, uniforms_BR, forbidden, encode)
        answers.update(zip(rows, answered, strict=True))
        if on_progress is not None:
            on_progress(len(answers), len(prompts))
    return [answers[n] for n in range(len(prompts))]


def _uniforms(seed: int, streams: Sequence[int], sampling: Sampling) -> Tensor:
    """A number for each token of each response [B, R]; none are drawn when greedy."""
    if sampling.temperature == 0:
        return torch.zeros(len(streams), sampling.max_new_tokens)
    drawn = [numpy_generator(seed, "generate", number).random(sampling.max_new_tokens) for number in streams]
    return torch.from_numpy(np.stack(drawn))


def _generate_batch(
    model: Qwen3VLForConditionalGeneration,
    chat: Chat,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    uniforms_BR: Tensor,
    forbidden: Tensor,
    encode: Encode,
) -> list[Response]:
    batch = chat.collate(prompts, device=str(model.device))
    cache = DynamicCache(config=text_config(model))
    hidden_BTH = model.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        mm_token_type_ids=batch.mm_token_type_ids,
        mm_encoder_outputs=encoder_outputs(encode(batch.pixels), batch.pixels),
        image_grid_thw=batch.grids,
        past_key_values=cache,
        use_cache=True,
    )[0]
    rows, width, length = len(prompts), batch.prompt_length, sampling.max_new_tokens
    tokens_BR = torch.full((rows, length), chat.end_id, device=model.device)
    logprobs_BR = torch.zeros(rows, length, device=model.device)
    # Rows that are being answered, by their place in the batch; what follows is theirs alone.
    places = torch.arange(rows, device=model.device)
    ended = torch.zeros(rows, dtype=torch.bool, device=model.device)
    mask_BT = torch.cat([batch.attention_mask, batch.attention_mask.new_ones(rows, length)], dim=1)
    types_BT = torch.cat([batch.mm_token_type_ids, batch.mm_token_type_ids.new_zeros(rows, length)], dim=1)
    next_B = batch.position_ids.amax(dim=(0, 2)) + 1
    vocabulary = text_config(model).vocab_size
    seen_BV = forbidden.new_zeros(rows, vocabulary, dtype=torch.bool) if sampling.presence_penalty else None
    plain = PlainDraws(output_weights(model), forbidden, rows) if is_plain(sampling, vocabulary) else None
    for step in range(length):
        hidden_BH, uniforms_B = hidden_BTH[:, -1], uniforms_BR[places, step]
        if plain is None:
            token_B, logprob_B = draw(model.lm_head(hidden_BH), forbidden, sampling, seen_BV, uniforms_B)
        else:
            token_B, logprob_B = plain.draw(output_input(hidden_BH), uniforms_B)
        # A row that has ended but is not dropped yet draws on; nothing of it is kept.
        token_B = token_B.masked_fill(ended, chat.end_id)
        tokens_BR[places, step], logprobs_BR[places, step] = token_B, logprob_B
        ended = ended | (token_B == chat.end_id)
        open_rows = int((~ended).sum())
        if step + 1 == length or open_rows == 0:
            break
        if seen_BV is not None:
            seen_BV = seen_BV.scatter(-1, token_B[:, None], value=True)
        if open_rows <= _DROP_AT * len(places):
            kept = (~ended).nonzero()[:, 0]
            cache.batch_select_indices(kept)
            places, ended, token_B, next_B = (x[kept] for x in (places, ended, token_B, next_B))
            mask_BT, types_BT = mask_BT[kept], types_BT[kept]
            seen_BV = None if seen_BV is None else seen_BV[kept]
        hidden_BTH = model.model(
            input_ids=token_B[:, None],
            attention_mask=mask_BT[:, : width + step + 1],
            position_ids=(next_B + step)[None, :, None].expand(3, -1, -1),
            past_key_values=cache,
            use_cache=True,
            **visual_history(model, types_BT[:, : width + step + 1]),
        )[0]
    return _responses(chat, tokens_BR.tolist(), logprobs_BR.tolist())


def _responses(chat: Chat, tokens_BR: list[list[int]], logprobs_BR: list[list[float]]) -> list[Response]:
    responses = []
    for tokens, logprobs in zip(tokens_BR, logprobs_BR, strict=True):
        finished = chat.end_id in tokens
        length = tokens.index(chat.end_id) + 1 if finished else len(tokens)
        responses.append(Response(tuple(tokens[:length]), chat.decode(tokens), tuple(logprobs[:length]), finished))
    return responses
