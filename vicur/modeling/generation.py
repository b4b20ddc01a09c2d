"""Batched generation with a KV cache, for rollouts and evaluation alike.

The loop is the project's own because it records what training needs: the log-probability of each token under exactly the
distribution that scoring uses. Greedy, it gives the tokens of transformers' ``generate``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, Qwen3VLForConditionalGeneration

from vicur.config.sampling import Sampling
from vicur.modeling.chat import Chat, Prompt
from vicur.modeling.scoring import masked_logprobs, position_ids, text_config
from vicur.modeling.vision import ImageFeatures, encode_images, encoder_outputs
from vicur.seeds import torch_generator


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


def draw(
    logits_BV: Tensor, forbidden: Tensor, sampling: Sampling, seen_BV: Tensor | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draws one token a row.

    Args:
        logits_BV: logits of the next token.
        forbidden: ids that are never drawn.
        sampling: how to draw.
        seen_BV: true at tokens that the response holds already, for the presence penalty.
        generator: source of randomness; not used when greedy.

    Returns:
        Token ids [B] and their log-probabilities [B] under the masked distribution, untempered.
    """
    logprobs_BV = masked_logprobs(logits_BV, forbidden)
    scores_BV = logprobs_BV
    if seen_BV is not None:
        scores_BV = scores_BV - sampling.presence_penalty * seen_BV
    if sampling.temperature == 0:
        tokens_B = scores_BV.argmax(-1)
    else:
        scores_BV = _truncate((scores_BV / sampling.temperature).log_softmax(-1), sampling)
        tokens_B = torch.multinomial(scores_BV.softmax(-1), 1, generator=generator)[:, 0]
    return tokens_B, logprobs_BV.gather(-1, tokens_B[:, None])[:, 0]


def _truncate(scores_BV: Tensor, sampling: Sampling) -> Tensor:
    if 0 < sampling.top_k < scores_BV.shape[-1]:
        least = scores_BV.topk(sampling.top_k, dim=-1).values[:, -1:]
        scores_BV = scores_BV.masked_fill(scores_BV < least, float("-inf"))
    if sampling.top_p < 1:
        sorted_BV, order_BV = scores_BV.softmax(-1).sort(-1, descending=True)
        # A token stays while the tokens before it hold less than top_p: the first always does.
        dropped = sorted_BV.cumsum(-1) - sorted_BV >= sampling.top_p
        scores_BV = scores_BV.masked_fill(torch.zeros_like(dropped).scatter(-1, order_BV, dropped), float("-inf"))
    return scores_BV


@torch.no_grad()
def generate(
    model: Qwen3VLForConditionalGeneration,
    chat: Chat,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    seed: int,
    batch_size: int = 128,
    features: Mapping[str, ImageFeatures] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Response]:
    """Answers ``prompts``, in their order.

    Args:
        model: the model; its mode (train or eval) is left as it is.
        chat: the model's chat.
        prompts: what to answer.
        sampling: how tokens are drawn.
        seed: seed of the draws; batches draw from substreams of their own.
        batch_size: prompts answered at once.
        features: features of the prompts' images, where they are known already.
        on_progress: called with the number of answered prompts and of all after each batch.
    """
    forbidden = chat.forbidden_ids(text_config(model).vocab_size).to(model.device)
    # Prompts of like length share a batch: less padding.
    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n].ids))
    answers: dict[int, Response] = {}
    for number, start in enumerate(range(0, len(order), batch_size)):
        rows = order[start : start + batch_size]
        generator = torch_generator(seed, "generate", number, device=str(model.device))
        answered = _generate_batch(model, chat, [prompts[n] for n in rows], sampling, generator, forbidden, features)
        answers.update(zip(rows, answered, strict=True))
        if on_progress is not None:
            on_progress(len(answers), len(prompts))
    return [answers[n] for n in range(len(prompts))]


def _generate_batch(
    model: Qwen3VLForConditionalGeneration,
    chat: Chat,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    generator: torch.Generator,
    forbidden: Tensor,
    features: Mapping[str, ImageFeatures] | None,
) -> list[Response]:
    batch = chat.collate(prompts, device=str(model.device))
    known = encode_images(model, batch.pixels) if features is None else features
    positions = position_ids(model, batch)
    cache = DynamicCache(config=text_config(model))
    out = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=positions,
        mm_token_type_ids=batch.mm_token_type_ids,
        mm_encoder_outputs=encoder_outputs(known, batch.pixels),
        image_grid_thw=batch.grids,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    rows, width = len(prompts), batch.prompt_length
    mask_BT = torch.cat([batch.attention_mask, batch.attention_mask.new_ones(rows, sampling.max_new_tokens)], dim=1)
    next_B = positions.amax(dim=(0, 2)) + 1
    tokens_RB: list[Tensor] = []
    logprobs_RB: list[Tensor] = []
    ended_B = torch.zeros(rows, dtype=torch.bool, device=model.device)
    seen_BV = torch.zeros_like(out.logits[:, -1], dtype=torch.bool) if sampling.presence_penalty else None
    for step in range(sampling.max_new_tokens):
        token_B, logprob_B = draw(out.logits[:, -1], forbidden, sampling, seen_BV, generator)
        tokens_RB.append(token_B)
        logprobs_RB.append(logprob_B)
        ended_B = ended_B | (token_B == chat.end_id)
        if step + 1 == sampling.max_new_tokens or bool(ended_B.all()):
            break
        if seen_BV is not None:
            seen_BV = seen_BV.scatter(-1, token_B[:, None], value=True)
        out = model(
            input_ids=token_B[:, None],
            attention_mask=mask_BT[:, : width + step + 1],
            position_ids=(next_B + step)[None, :, None].expand(3, -1, -1),
            past_key_values=cache,
            use_cache=True,
        )
    return _responses(chat, torch.stack(tokens_RB, 1).tolist(), torch.stack(logprobs_RB, 1).tolist())


def _responses(chat: Chat, tokens_BR: list[list[int]], logprobs_BR: list[list[float]]) -> list[Response]:
    responses = []
    for tokens, logprobs in zip(tokens_BR, logprobs_BR, strict=True):
        finished = chat.end_id in tokens
        length = tokens.index(chat.end_id) + 1 if finished else len(tokens)
        responses.append(Response(tuple(tokens[:length]), chat.decode(tokens), tuple(logprobs[:length]), finished))
    return responses
