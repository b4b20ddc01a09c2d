"""Train the tiny base model from scratch: a Qwen3-VL that reads digits badly and reasons well.

    vicur base train .vicur/base

It has seen so little handwriting (the base pool) that it misreads about every sixth new digit. With the evidence as a hint it nearly always
answers correctly; with the answer as a hint it copies the answer and misreads the evidence as before. Distillation with cues is about that
gap. First the vision tower is trained on digit, colour and position of each cell, then the whole model on reference responses to prompts
with and without hints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration

from vicur.answers import evidence_is_right, is_correct
from vicur.config.data import DigitScenesConfig
from vicur.config.sampling import Sampling
from vicur.config.tiny_base import TinyBaseConfig
from vicur.cues.hints import Privilege, hint_for, with_hint
from vicur.data.digit_scenes import DESCRIBE_QUESTION, build_pools, describe, vocabulary
from vicur.data.rendering import COLOURS, COLUMNS, ROWS
from vicur.data.schema import Example
from vicur.modeling import parameter_count, save_model
from vicur.modeling.chat import Chat
from vicur.modeling.generation import generate
from vicur.modeling.scoring import text_config
from vicur.modeling.tiny.architecture import tiny_config, tiny_image_processor, tiny_tokenizer
from vicur.modeling.vision import encode_images
from vicur.prompts import Content
from vicur.seeds import numpy_generator, substream
from vicur.stage.events import Events
from vicur.training.examples import PixelStore
from vicur.training.from_scratch import Pair, cosine, optimizer, train_on_responses, update

_DIGITS = 10
# Enough for the response to one question.
_ANSWER_TOKENS = 40
_HINTS: tuple[Privilege, ...] = ("none", "cue", "answer", "rationale", "solution")


def train_tiny_base(config: TinyBaseConfig, output: Path, events: Events) -> dict[str, Any]:
    """Train the base and write it to ``output``. Returns its record in ``vicur.json``: the recipe and its accuracy on the test pool."""
    torch.set_num_threads(1)
    pools = build_pools(DigitScenesConfig(together=config.together), config.seed)
    tokenizer = tiny_tokenizer(vocabulary())
    chat = Chat(tokenizer, tiny_image_processor())
    torch.manual_seed(substream(config.seed, "tiny_base", "weights"))
    model = Qwen3VLForConditionalGeneration(tiny_config(tokenizer, config.sizes))
    images = PixelStore(chat)
    examples = recipe_examples(pools, config)
    read = _train_vision(model, examples, images, config, events)
    _train_text(model, examples, images, chat, config, events)
    model.eval()
    versions = {name: version(name).split("+")[0] for name in ("torch", "transformers", "numpy", "scikit-learn")}
    record: dict[str, Any] = {
        "recipe": config.model_dump(mode="json"),
        "parameters": parameter_count(model).total,
        "versions": versions,
        "digits_read": round(read, 4),
        "test_accuracy": {hint: _check(model, chat, pools["test"], images, hint, config) for hint in _HINTS},
    }
    save_model(model, output, record=record)
    chat.save(output)
    return record


def recipe_examples(pools: Mapping[str, Sequence[Example]], config: TinyBaseConfig) -> list[Example]:
    """Return the questions about the first ``scenes`` scenes of the recipe's pools, in their order."""
    examples = [example for pool in config.pools for example in pools[pool]]
    scenes = list(dict.fromkeys(example.group for example in examples))
    chosen = set(scenes[: config.scenes])
    return [example for example in examples if example.group in chosen]


def _train_vision(
    model: Qwen3VLForConditionalGeneration,
    examples: Sequence[Example],
    images: PixelStore,
    config: TinyBaseConfig,
    events: Events,
) -> float:
    """Train the tower to encode digit, colour and position of each cell. Returns the share of digits read correctly in the last batches."""
    # The position matters as well: later layers find a cell by it. The linear heads are discarded.
    scenes = list({example.group: example for example in examples}.values())
    sizes = (_DIGITS, len(COLOURS), ROWS, COLUMNS)
    heads = nn.Linear(text_config(model).hidden_size, sum(sizes))
    adam = optimizer([*model.model.visual.parameters(), *heads.parameters()], config.vision_learning_rate, config)
    draw = numpy_generator(config.seed, "tiny_base", "vision")
    accuracy = 0.0
    for step in range(config.vision_steps):
        rows = [scenes[n] for n in draw.integers(0, len(scenes), config.batch_size)]
        pixels = [image for row in rows for image in images.of(row)]
        features = encode_images(model, pixels)
        logits = heads(torch.cat([features[image.key].tokens_NH for image in pixels])).split(sizes, dim=-1)
        targets = _cells(rows)
        loss = sum(
            (nn.functional.cross_entropy(head, target) for head, target in zip(logits, targets, strict=True)),
            torch.zeros(()),
        )
        update(adam, loss, config.vision_learning_rate * cosine(step / config.vision_steps), config)
        accuracy = 0.9 * accuracy + 0.1 * float((logits[0].argmax(-1) == targets[0]).float().mean())
        events.progress(step + 1, config.vision_steps, f"vision tower: {accuracy:.2f} of digits read")
    return accuracy


def _cells(rows: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return digit, colour, row and column of every cell of the scenes, row by row: four tensors [scenes * cells]."""
    colours = list(COLOURS)
    scenes = [row.metadata["scene"] for row in rows]
    digits = [digit for scene in scenes for line in scene["digits"] for digit in line]
    shades = [colours.index(colour) for scene in scenes for line in scene["colours"] for colour in line]
    row_numbers = [n // COLUMNS for _ in scenes for n in range(ROWS * COLUMNS)]
    column_numbers = [n % COLUMNS for _ in scenes for n in range(ROWS * COLUMNS)]
    return torch.tensor(digits), torch.tensor(shades), torch.tensor(row_numbers), torch.tensor(column_numbers)


def _train_text(
    model: Qwen3VLForConditionalGeneration,
    examples: Sequence[Example],
    images: PixelStore,
    chat: Chat,
    config: TinyBaseConfig,
    events: Events,
) -> None:
    """Train the whole model on reference responses to prompts with and without hints, and on descriptions of scenes."""
    mix = config.hints.model_dump()
    shares = np.array([mix[hint] for hint in _HINTS]) / sum(mix.values())
    numbers = numpy_generator(config.seed, "tiny_base", "text")

    def draw() -> list[Pair]:
        pairs: list[Pair] = []
        for n in numbers.integers(0, len(examples), config.batch_size):
            example = examples[n]
            content: str | Content
            if numbers.random() < config.describe_share:
                content, response = DESCRIBE_QUESTION, describe(example.metadata["scene"])
            else:
                hint = hint_for(_HINTS[numbers.choice(len(_HINTS), p=shares)], example, example.cue)
                content, response = with_hint(chat.content(example), hint), example.metadata["reference"]
            pairs.append((chat.prompt(content, images.of(example)), chat.encode_response(response)))
        return pairs

    def report(step: int, loss: float) -> None:
        events.progress(step, config.steps, f"responses: loss {loss:.3f}")

    train_on_responses(model, chat, draw, numbers, config, report)


def _check(
    model: Qwen3VLForConditionalGeneration,
    chat: Chat,
    examples: Sequence[Example],
    images: PixelStore,
    hint: Privilege,
    config: TinyBaseConfig,
) -> dict[str, float]:
    """Return greedy accuracy and the share of correct evidence, with one kind of hint in every prompt."""
    prompts = [chat.prompt(with_hint(chat.content(e), hint_for(hint, e, e.cue)), images.of(e)) for e in examples]
    greedy = Sampling(temperature=0, max_new_tokens=_ANSWER_TOKENS * config.together)
    answers = generate(model, chat, prompts, greedy, seed=0)
    pairs = list(zip(answers, examples, strict=True))
    return {
        "accuracy": round(sum(is_correct(a.text, e) for a, e in pairs) / len(pairs), 4),
        "evidence": round(sum(evidence_is_right(a.text, e) is True for a, e in pairs) / len(pairs), 4),
    }
