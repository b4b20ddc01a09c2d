"""The student with a KV cache: decoding, prefilling in chunks and new turns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, StaticCache

from tests.modeling.factory import (
    IM_END,
    IM_START,
    IMAGE,
    PAD,
    Picture,
    Row,
    batch,
    chat_row,
    logprobs,
    row,
    student,
)
from tests.modeling.student_rows import LONG, SEVERAL, SINKS, TEXT, Sink, close
from vicur.errors import VicurError
from vicur.modeling import (
    Qwen3VLStudentForConditionalGeneration,
    without_cue_recovery,
)


def _cached_logits(made: Qwen3VLStudentForConditionalGeneration, rows: list[Row], prompt: int, cache: Any) -> Tensor:
    """Return log-probs of left-padded rows [B, T, V], with ``prompt`` columns in the first forward and one in each other."""
    arguments = batch(rows)
    ids, mask, types = (arguments.pop(k) for k in ("input_ids", "attention_mask", "mm_token_type_ids"))
    grids = arguments.get("image_grid_thw")
    positions, _ = made.model.get_rope_index(ids, types, image_grid_thw=grids, attention_mask=mask)
    parts = []
    for start, end in [(0, prompt), *((n, n + 1) for n in range(prompt, ids.shape[1]))]:
        prefill = {"mm_token_type_ids": types[:, :end], **arguments} if start == 0 else {}
        out = made(
            input_ids=ids[:, start:end],
            attention_mask=mask[:, :end],
            position_ids=positions[..., start:end],
            past_key_values=cache,
            use_cache=True,
            **prefill,
        )
        parts.append(out.logits)
    return torch.cat(parts, dim=1).log_softmax(-1)


@pytest.mark.parametrize("sink", SINKS)
@torch.no_grad()
def test_decoding_with_a_cache_gives_the_logprobs_of_a_plain_forward(sink: Sink) -> None:
    made = student(sink)
    rows = [
        chat_row(Picture(seed=1), 20, response=(30, 31, 32)),
        chat_row(Picture(1, 2, seed=2), 21, 22, response=(33, 34, 35)),
    ]
    mask = batch(rows)["attention_mask"].bool()
    cached = _cached_logits(made, rows, mask.shape[1] - 3, DynamicCache(config=made.config.text_config))
    plain = made(**batch(rows)).logits.log_softmax(-1)
    close(cached[mask], plain[mask])
    assert (plain - without_cue_recovery(made)(**batch(rows)).logits.log_softmax(-1))[mask].abs().max() > 1e-2


@pytest.mark.parametrize("cache", ["dynamic", "static", None])
@pytest.mark.parametrize("sink", SINKS)
@torch.no_grad()
def test_generate_gives_the_logprobs_of_a_plain_forward(sink: Sink, cache: str | None) -> None:
    made = student(sink)
    prompts = [chat_row(Picture(seed=1), 20, 21), chat_row(Picture(1, 2, seed=2), 22), chat_row(23, 24)]
    arguments = batch(prompts)
    width = arguments["input_ids"].shape[1]
    out = made.generate(
        **arguments,
        do_sample=False,
        max_new_tokens=5,
        eos_token_id=None,
        pad_token_id=PAD,
        output_scores=True,
        return_dict_in_generate=True,
        **({"use_cache": False} if cache is None else {"cache_implementation": cache}),
    )
    assert not (out.sequences[:, width:] == IMAGE).any()
    new = out.sequences.shape[1] - width
    arguments["input_ids"] = out.sequences
    arguments["attention_mask"] = torch.nn.functional.pad(arguments["attention_mask"], (0, new), value=1)
    arguments["mm_token_type_ids"] = torch.nn.functional.pad(arguments["mm_token_type_ids"], (0, new), value=0)
    plain = made(**arguments).logits[:, width - 1 : -1].log_softmax(-1)
    close(torch.stack(out.scores, dim=1).log_softmax(-1), plain)


@torch.no_grad()
def test_precomputed_image_features_give_the_same_logprobs() -> None:
    made, arguments = student(), batch([LONG, SEVERAL])
    direct = made(**arguments).logits
    features = made.model.get_image_features(
        arguments.pop("pixel_values"), arguments["image_grid_thw"], return_dict=True
    )
    close(made(**arguments, mm_encoder_outputs={"image": features}).logits, direct, 1e-6)


@torch.no_grad()
def test_static_and_dynamic_caches_agree() -> None:
    made, rows = student(), [LONG]
    static = StaticCache(config=made.config.text_config, max_cache_len=40)
    dynamic = DynamicCache(config=made.config.text_config)
    prompt = len(LONG.ids) - 3
    close(_cached_logits(made, rows, prompt, static), _cached_logits(made, rows, prompt, dynamic))


def _prefilled(made: Qwen3VLStudentForConditionalGeneration, r: Row) -> DynamicCache:
    cache = DynamicCache(config=made.config.text_config)
    made(**batch([r]), past_key_values=cache, use_cache=True)
    return cache


@torch.no_grad()
def test_an_image_after_a_cached_prefix_is_rejected() -> None:
    made = student()
    later = batch([row(Picture(), 20)])
    later["attention_mask"] = torch.ones(1, len(TEXT.ids) + later["input_ids"].shape[1])
    with pytest.raises(VicurError, match="whole prompt"):
        made(**later, past_key_values=_prefilled(made, TEXT), use_cache=True)


@torch.no_grad()
def test_chunked_prefill_that_splits_the_image_is_rejected() -> None:
    made = student()
    made.generation_config.pad_token_id = PAD
    with pytest.raises(VicurError, match="Prefill the prompt at once"):
        made.generate(**batch([chat_row(20, 21, Picture(), 22)]), max_new_tokens=2, prefill_chunk_size=8)


@torch.no_grad()
def test_a_new_turn_on_a_cache_works_with_the_first_sink_only() -> None:
    turn = [IM_END, IM_START, 8, 25, IM_END, IM_START, 9]
    whole = Row(LONG.ids + turn, LONG.types + [0] * len(turn), LONG.pictures)
    for sink in SINKS:
        made = student(sink)
        cache = _prefilled(made, LONG)
        start = int(made.model.rope_deltas) + len(LONG.ids)
        later = {
            "input_ids": torch.tensor([turn]),
            "position_ids": torch.arange(start, start + len(turn)).expand(3, 1, -1),
            "past_key_values": cache,
        }
        if sink == "assistant":
            with pytest.raises(VicurError, match="whole prompt"):
                made(**later)
        else:
            close(made(**later).logits.log_softmax(-1)[0], logprobs(made, [whole])[0][-len(turn) :])
