"""What the trainings of tiny models share: the optimizer with its schedule, and the loop over reference responses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.tiny_base import TinyRecipe
from vicur.modeling.chat import Chat, Prompt
from vicur.modeling.scoring import score_responses, text_config
from vicur.modeling.vision import encode_images
from vicur.training.scratch_checkpoints import ScratchCheckpoints, Trained

Pair = tuple[Prompt, Sequence[int]]
"""A prompt and the token ids of its reference response."""


def optimizer(parameters: list[nn.Parameter], rate: float, config: TinyRecipe) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=config.weight_decay)


def update(adam: torch.optim.AdamW, loss: Tensor, rate: float, config: TinyRecipe) -> None:
    """Take one step with the learning rate ``rate``, after clipping the gradients."""
    parameters = [p for group in adam.param_groups for p in group["params"]]
    for group in adam.param_groups:
        group["lr"] = rate
    adam.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
    adam.step()


def cosine(done: float) -> float:
    """Return a factor that falls from 1 to 0.05 as ``done`` rises from 0 to 1."""
    return 0.05 + 0.95 * (0.5 + 0.5 * math.cos(math.pi * done))


def train_on_responses(
    model: Qwen3VLForConditionalGeneration,
    chat: Chat,
    draw: Callable[[], Sequence[Pair]],
    numbers: np.random.Generator,
    config: TinyRecipe,
    on_step: Callable[[int, float], None],
    checkpoints: ScratchCheckpoints | None = None,
) -> None:
    """Train the whole model on reference responses.

    Args:
        draw: returns the prompts and responses of the next batch.
        numbers: the generator that ``draw`` uses.
        on_step: called after each step with its number, from 1, and a running mean of the loss in nats per token.
    """
    forbidden = chat.forbidden_ids(text_config(model).vocab_size)
    adam = optimizer(list(model.parameters()), config.learning_rate, config)
    trained = Trained(model, adam, numbers)
    start, average = (0, 0.0) if checkpoints is None else checkpoints.resume("responses", trained)
    for step in range(start, config.steps):
        prompts, responses = zip(*draw(), strict=True)
        batch = chat.collate(prompts, responses)
        scores = score_responses(model, batch, encode_images(model, batch.pixels), forbidden)
        loss = -scores.logprobs_BR.sum() / batch.response_mask.sum()
        rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
        update(adam, loss, config.learning_rate * rise * cosine(step / config.steps), config)
        average = 0.98 * average + 0.02 * float(loss.detach()) if step else float(loss.detach())
        if checkpoints is not None:
            checkpoints.save("responses", trained, step + 1, average)
        on_step(step + 1, average)
