"""How many prompts to answer at once: what free memory holds, and half of it after each failure to allocate.

Responses do not depend on the batch beyond float tolerance: each prompt has its own random stream (``vicur.modeling.generation``), and
padding does not change a row's log-probabilities. A smaller batch costs time only.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence

import torch
from transformers import Qwen3VLForConditionalGeneration

from vicur.modeling.scoring import text_config

log = logging.getLogger(__name__)

# Share of the free memory that a batch may take. The rest is for fragmentation and for what is estimated too low.
_SHARE = 0.85
# Logits and their copies while a token is sampled, in float32.
_SAMPLING_COPIES = 5
# Values per token and layer during prefill: gate, up and their product, and the states of the layer with their copies.
_PREFILL_INTERMEDIATE, _PREFILL_HIDDEN = 3, 8


class Batches:
    """Consecutive parts of some rows, of at most ``size`` and at most ``fitting`` of the next rows.

    :meth:`halve` repeats the last part, in smaller parts, as are all later ones.
    """

    def __init__(self, rows: Sequence[int], size: int, fitting: Callable[[Sequence[int]], int]) -> None:
        self._rows, self._size, self._fitting = rows, size, fitting
        self._start = self._stop = 0

    def __iter__(self) -> Iterator[Sequence[int]]:
        while self._stop < len(self._rows):
            self._start = self._stop
            rows = self._rows[self._start : self._start + self._size]
            self._stop += max(1, min(len(rows), self._fitting(rows)))
            yield self._rows[self._start : self._stop]

    @property
    def size(self) -> int:
        """Maximum number of rows of the next part."""
        return self._size

    def halve(self, device: torch.device) -> bool:
        """Return to the start of the last part with half its size. Returns false if it was a single row."""
        failed = self._stop - self._start
        if failed <= 1:
            return False
        self._size = failed // 2
        self._stop = self._start
        log.warning(
            "Out of memory with %d prompts at once: continuing with %d. Responses stay the same to float tolerance.",
            failed,
            self._size,
        )
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return True


def rows_that_fit(
    model: Qwen3VLForConditionalGeneration,
    rows: int,
    prompt_tokens: int,
    new_tokens: int,
    patches: int,
    reserved: int = 0,
) -> int:
    """Return how many of ``rows`` the free memory of the model's GPU holds, at least 1: all, or a power of two. On a CPU, all.

    Args:
        prompt_tokens: length of the longest prompt.
        new_tokens: maximum length of a response.
        patches: image patches of the prompt with the most.
        reserved: bytes of the free memory that something else will take.
    """
    if model.device.type != "cuda":
        return rows
    free, _ = torch.cuda.mem_get_info(model.device)
    # The allocator holds freed memory that the driver does not know to be free.
    free += torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    fitting = int(_SHARE * max(0, free - reserved)) // row_bytes(model, prompt_tokens, new_tokens, patches)
    # A power of two: free memory differs a little from run to run, and the batch should not. As fitting_rows of vicur.planning.generating.
    return rows if fitting >= rows else 1 << (max(1, fitting).bit_length() - 1)


def row_bytes(model: Qwen3VLForConditionalGeneration, prompt_tokens: int, new_tokens: int, patches: int) -> int:
    """Estimate the bytes that one more row takes while a batch is answered: KV cache, prefill, its image and its logits."""
    text, vision = text_config(model), model.model.visual.config
    weight = model.lm_head.weight
    kind, keys = weight.device.type, weight.element_size()
    # Under autocast, keys leave their norm as float32.
    values = torch.get_autocast_dtype(kind).itemsize if torch.is_autocast_enabled(kind) else keys
    number = max(keys, values)
    heads = text.num_key_value_heads or text.num_attention_heads
    # Of one layer, the keys of at most half of the rows exist twice while finished rows are dropped (vicur.modeling.kv_cache).
    width = text.num_hidden_layers * (keys + values) + keys / 2
    cache = heads * text.head_dim * (prompt_tokens + new_tokens) * width
    width = _PREFILL_INTERMEDIATE * text.intermediate_size + _PREFILL_HIDDEN * text.hidden_size
    # The boolean mask [T, T] exists once.
    prefill = prompt_tokens * (width * number + prompt_tokens)
    width = _PREFILL_INTERMEDIATE * vision.intermediate_size + _PREFILL_HIDDEN * vision.hidden_size
    image = patches * width * number
    return int(cache + prefill + image + _SAMPLING_COPIES * torch.float32.itemsize * text.vocab_size)
