"""Batched generation with a KV cache, for rollouts and evaluation.

A custom loop, because training needs the log-probability of each token under exactly the distribution that scoring uses. Greedy decoding
gives the same tokens as transformers' ``generate``.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.sampling import Sampling
from vicur.errors import NotFiniteError
from vicur.modeling.batch_sizes import Batches, rows_that_fit
from vicur.modeling.cache_argument import cache_argument
from vicur.modeling.chat import Chat, Prompt
from vicur.modeling.image_blocking import visual_history
from vicur.modeling.kv_cache import preallocated_cache
from vicur.modeling.sampling import PlainSampler, is_plain, sample
from vicur.modeling.scoring import output_input, output_weights, text_config
from vicur.modeling.vision import Encode, encode_images, encoder_outputs
from vicur.seeds import numpy_generator

# Drop finished rows once at most half of the rows are unfinished. Each drop copies the rest of the cache, so all drops
# together copy no more than the whole cache once.
_DROP_AT = 0.5


@dataclass(frozen=True)
class Response:
    """One response."""

    ids: tuple[int, ...]  # including the end of turn, if it was reached
    text: str
    logprobs: tuple[float, ...]  # before temperature and truncation
    finished: bool  # whether the end of turn was reached


@torch.no_grad()
def generate(
    model: Qwen3VLForConditionalGeneration,
    chat: Chat,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    seed: int,
    batch_size: int = 128,
    fit_memory: bool = False,  # on a GPU, lower the batch to what free memory holds
    encode: Encode | None = None,  # by default, runs the model's vision tower
    streams: Sequence[int] | None = None,  # numbers of the prompts' random streams; by default, their indices
    on_progress: Callable[[int, int], None] | None = None,  # called with the number of finished prompts and of all
    on_responses: Callable[[Mapping[int, Response]], None]
    | None = None,  # called with those of each batch, by index of their prompts
    on_smaller_batch: Callable[[int], None]
    | None = None,  # called with the batch that is used from now on, if memory ran out
) -> list[Response]:
    """Generate a response to each prompt, in order. Does not change the model's mode (train or eval).

    Each prompt has a separate random stream of the root ``seed``, so its response does not depend on the other prompts: not on
    ``batch_size`` either, beyond float tolerance. If memory runs out, generation continues with half the batch.

    Raises:
        NotFiniteError: if the model gives a token a log-probability that is not finite.
        torch.OutOfMemoryError: if a single prompt does not fit.
    """
    forbidden = chat.forbidden_ids(text_config(model).vocab_size).to(model.device)
    encode = partial(encode_images, model) if encode is None else encode
    numbers = range(len(prompts)) if streams is None else streams
    order = generation_order(prompts)
    responses: dict[int, Response] = {}
    batches = Batches(
        order,
        batch_size,
        lambda rows: fitting_batch(model, [prompts[n] for n in rows], sampling, len(rows)) if fit_memory else len(rows),
    )
    for rows in batches:
        uniforms_BR = _uniforms(seed, [numbers[n] for n in rows], sampling).to(model.device)
        some = [prompts[n] for n in rows]
        try:
            finished = _generate_batch(model, chat, some, sampling, uniforms_BR, forbidden, encode)
        except torch.OutOfMemoryError as error:
            # The error's frames hold the tensors of the batch.
            traceback.clear_frames(error.__traceback__)
            if not batches.halve(model.device):
                raise
            if on_smaller_batch is not None:
                on_smaller_batch(batches.size)
            continue
        of_batch = dict(zip(rows, finished, strict=True))
        responses.update(of_batch)
        if on_responses is not None:
            on_responses(of_batch)
        if on_progress is not None:
            on_progress(len(responses), len(prompts))
    return [responses[n] for n in range(len(prompts))]


def fitting_batch(
    model: Qwen3VLForConditionalGeneration, prompts: Sequence[Prompt], sampling: Sampling, most: int, reserved: int = 0
) -> int:
    """Return how many of the prompts to answer at once: ``most`` or, on a GPU, what its free memory holds of the longest of them.

    Args:
        reserved: bytes of the free memory that something else will take.
    """
    longest = max((len(prompt.ids) for prompt in prompts), default=0)
    patches = max((sum(math.prod(image.grid) for image in prompt.pixels) for prompt in prompts), default=0)
    return rows_that_fit(model, most, longest, sampling.max_new_tokens, patches, reserved)


def generation_order(prompts: Sequence[Prompt]) -> list[int]:
    """Return the numbers of the prompts in the order in which :func:`generate` answers them."""
    # Prompts of similar length share a batch, which reduces padding.
    return sorted(range(len(prompts)), key=lambda n: len(prompts[n].ids))


def _uniforms(seed: int, streams: Sequence[int], sampling: Sampling) -> Tensor:
    """Return a random number in [0, 1) for each token of each response [B, R]; zeros for greedy decoding."""
    if sampling.temperature == 0:
        return torch.zeros(len(streams), sampling.max_new_tokens)
    uniforms = [numpy_generator(seed, "generate", number).random(sampling.max_new_tokens) for number in streams]
    return torch.from_numpy(np.stack(uniforms))


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
    rows, width, length = len(prompts), batch.prompt_length, sampling.max_new_tokens
    cache = preallocated_cache(text_config(model).num_hidden_layers, width + length)
    hidden_BTH = model.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        mm_token_type_ids=batch.mm_token_type_ids,
        mm_encoder_outputs=encoder_outputs(encode(batch.pixels), batch.pixels),
        image_grid_thw=batch.grids,
        video_grid_thw=batch.video_grids,
        **cache_argument(cache),
        use_cache=True,
    )[0]
    tokens_BR = torch.full((rows, length), chat.end_id, device=model.device)
    logprobs_BR = torch.zeros(rows, length, device=model.device)
    # Indices of the rows that are still in the batch. All tensors below have one entry for each of these rows only.
    places = torch.arange(rows, device=model.device)
    ended = torch.zeros(rows, dtype=torch.bool, device=model.device)
    mask_BT = torch.cat([batch.attention_mask, batch.attention_mask.new_ones(rows, length)], dim=1)
    types_BT = torch.cat([batch.mm_token_type_ids, batch.mm_token_type_ids.new_zeros(rows, length)], dim=1)
    next_B = batch.position_ids.amax(dim=(0, 2)) + 1
    vocabulary = text_config(model).vocab_size
    seen_BV = forbidden.new_zeros(rows, vocabulary, dtype=torch.bool) if sampling.presence_penalty else None
    # The fast path computes logits in tiles, in a buffer that is reused in every step.
    plain = PlainSampler(output_weights(model), forbidden, rows) if is_plain(sampling, vocabulary) else None
    for step in range(length):
        hidden_BH, uniforms_B = hidden_BTH[:, -1], uniforms_BR[places, step]
        if plain is None:
            token_B, logprob_B = sample(model.lm_head(hidden_BH), forbidden, sampling, seen_BV, uniforms_B)
        else:
            token_B, logprob_B = plain.sample(output_input(hidden_BH), uniforms_B)
        # Finished rows that are not dropped yet continue to sample; their tokens are overwritten.
        token_B = token_B.masked_fill(ended, chat.end_id)
        tokens_BR[places, step], logprobs_BR[places, step] = token_B, logprob_B
        ended = ended | (token_B == chat.end_id)
        # One transfer from the device for both counts.
        open_rows, broken_rows = torch.stack([(~ended).sum(), (~logprob_B.isfinite()).sum()]).tolist()
        if broken_rows:
            raise _not_finite(model, broken_rows, len(places))
        if step + 1 == length or open_rows == 0:
            break
        if seen_BV is not None:
            seen_BV = seen_BV.scatter(-1, token_B[:, None], value=True)
        if open_rows <= _DROP_AT * len(places):
            remaining = (~ended).nonzero()[:, 0]
            cache.batch_select_indices(remaining)
            places, ended, token_B, next_B = (x[remaining] for x in (places, ended, token_B, next_B))
            mask_BT, types_BT = mask_BT[remaining], types_BT[remaining]
            seen_BV = None if seen_BV is None else seen_BV[remaining]
        hidden_BTH = model.model(
            input_ids=token_B[:, None],
            attention_mask=mask_BT[:, : width + step + 1],
            position_ids=(next_B + step)[None, :, None].expand(3, -1, -1),
            **cache_argument(cache),
            use_cache=True,
            **visual_history(model, types_BT[:, : width + step + 1]),
        )[0]
    return _responses(chat, tokens_BR.tolist(), logprobs_BR.tolist())


def _not_finite(model: Qwen3VLForConditionalGeneration, broken: int, rows: int) -> NotFiniteError:
    return NotFiniteError(
        f"the model's log-probabilities are not finite (NaN or infinity) in {broken} of {rows} responses.",
        where=model.config._name_or_path or "model",
        remedy="Its weights are damaged, or its training diverged: use another checkpoint.",
    )


def _responses(chat: Chat, tokens_BR: list[list[int]], logprobs_BR: list[list[float]]) -> list[Response]:
    responses = []
    for tokens, logprobs in zip(tokens_BR, logprobs_BR, strict=True):
        finished = chat.end_id in tokens
        length = tokens.index(chat.end_id) + 1 if finished else len(tokens)
        responses.append(Response(tuple(tokens[:length]), chat.decode(tokens), tuple(logprobs[:length]), finished))
    return responses
