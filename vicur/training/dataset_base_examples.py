"""What a tiny base for a dataset is trained on: its examples, their texts for the tokenizer, and the batches of prompts and responses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vicur.config.data import Split
from vicur.config.tiny_base import DatasetBaseConfig
from vicur.cues.hints import HINT_MARKER, Privilege, hint_for, with_hint
from vicur.data import read_examples, read_manifest
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.modeling.ahead import example_pixels
from vicur.modeling.chat import Chat
from vicur.prompts import ImagePart, answer_text, shown_text
from vicur.training.examples import PixelStore, reference_response
from vicur.training.from_scratch import Pair
from vicur.training.vision_pretraining import Described

HINTS: tuple[Privilege, ...] = ("none", "cue", "answer", "rationale", "solution")
_TEMPLATE_TOKENS = 16  # of a prompt with one image, more than the template has
_IMAGE_TOKENS = 2  # around each image
_TOKEN_PIXELS = 16 * 16


def training_part(dataset: Path, config: DatasetBaseConfig) -> tuple[Split, list[Example]]:
    """Return the split that the base is trained on, and its part: all of ``base``, or ``share`` of the groups of ``distill``.

    Raises:
        VicurError: if the folder is not a prepared dataset or has neither split.
    """
    counts = read_manifest(dataset).examples
    if counts.get("base"):
        return "base", _first(read_examples(dataset, "base"), config)
    if not counts.get("distill"):
        raise VicurError(
            f"has neither a split base nor a split distill to train on, but {', '.join(counts) or 'no examples'}.",
            where=str(dataset),
            remedy="Prepare a dataset with the split distill (docs/data.md).",
        )
    # By hash: whether a group is in the part depends on no other group, and questions about one image stay together.
    part = [e for e in read_examples(dataset, "distill") if _place(e.group, config.seed) < config.share]
    if not part:
        raise VicurError(
            f"share={config.share:g} selects none of the {counts['distill']} examples of distill.",
            where=str(dataset),
            remedy="Raise it: --set share=1.",
        )
    return "distill", _first(part, config)


def _first(examples: list[Example], config: DatasetBaseConfig) -> list[Example]:
    if len(examples) <= config.max_examples:
        return examples
    # Whole groups, those with the smallest hashes, in the order of the dataset.
    ranked = sorted(examples, key=lambda e: (_place(f"{e.group}/first", config.seed), e.id))
    chosen = {example.id for example in ranked[: config.max_examples]}
    return [example for example in examples if example.id in chosen]


def _place(group: str, seed: int) -> float:
    """Return a number from 0 to 1 that depends on the group and the seed only."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{group}".encode()).digest()[:6], "big") / 2**48


def with_cues(examples: Sequence[Example], cues: Mapping[str, str] | None) -> list[Example]:
    """Return the examples with their cues replaced by those of an extraction; unchanged without an extraction."""
    if cues is None:
        return list(examples)
    return [example.model_copy(update={"cue": cues.get(example.id)}) for example in examples]


def texts(examples: Sequence[Example]) -> Iterator[str]:
    """Yield the texts that the tokenizer learns from: every prompt with its hints, and every response."""
    for example in examples:
        yield shown_text(example.question, example.choices)
        yield response(example)
        for _, hint in hints(example):
            if hint is not None:
                yield f"\n{HINT_MARKER} {hint}"


def response(example: Example) -> str:
    """Return the response that the base learns: the reference response, or the answer alone."""
    return reference_response(example) or f"Answer: {answer_text(example.answer, example.choices)}"


def hints(example: Example) -> list[tuple[Privilege, str | None]]:
    """Return the hints that the example has, each with its text; the first is without a hint."""
    found = [(privilege, hint_for(privilege, example, example.cue)) for privilege in HINTS]
    return [(privilege, hint) for privilege, hint in found if privilege == "none" or hint is not None]


def usable(
    examples: Sequence[Example], chat: Chat, config: DatasetBaseConfig, dataset: Path, split: Split
) -> list[Example]:
    """Return the examples whose prompts and responses are short enough.

    Raises:
        VicurError: if there are none.
    """
    lengths = [_length(example, chat, config) for example in examples]
    short = [example for example, length in zip(examples, lengths, strict=True) if length <= config.max_tokens]
    if not short:
        raise VicurError(
            f"has no example in {split} whose prompt and response fit into {config.max_tokens} tokens; "
            f"the shortest has up to {min(lengths)}.",
            where=str(dataset),
            remedy="Raise max_tokens, or lower max_pixels: --set max_tokens=2048.",
        )
    return short


def _length(example: Example, chat: Chat, config: DatasetBaseConfig) -> int:
    """Return an upper bound of the tokens of the longest prompt with its response. No image is decoded."""
    content = chat.content(example)
    prompts = [
        "".join(part for part in with_hint(content, hint) if isinstance(part, str)) for _, hint in hints(example)
    ]
    images = sum(isinstance(part, ImagePart) for part in content) * (config.max_pixels // _TOKEN_PIXELS + _IMAGE_TOKENS)
    if example.video is not None:
        [video] = example_pixels(chat, example)
        images = len(chat.prompt("", [video]).ids)
    text = max(len(chat.encode_text(prompt)) for prompt in prompts)
    return text + images + _TEMPLATE_TOKENS + len(chat.encode_response(response(example)))


def described(examples: Sequence[Example], chat: Chat) -> list[Described]:
    """Return one example for each set of images, with the ids of the tokens in the cues, rationales and answers about it."""
    words: dict[tuple[bytes, ...], set[int]] = {}
    first: dict[tuple[bytes, ...], Example] = {}
    for example in examples:
        if example.images:
            first.setdefault(example.images, example)
            annotation = "\n".join(filter(None, (example.cue, example.rationale, f" {example.answer}")))
            words.setdefault(example.images, set()).update(chat.encode_text(annotation))
    return [Described(example, frozenset(words[images])) for images, example in first.items()]


def batches(
    examples: Sequence[Example], images: PixelStore, chat: Chat, config: DatasetBaseConfig, numbers: np.random.Generator
) -> Callable[[], list[Pair]]:
    """Return a function that draws the next batch of prompts and responses from the generator ``numbers``."""
    mix = config.hints.model_dump()

    def draw() -> list[Pair]:
        pairs: list[Pair] = []
        for n in numbers.integers(0, len(examples), config.batch_size):
            example = examples[n]
            offered = hints(example)
            # Without a privilege, its share goes to the others.
            shares = np.array([mix[privilege] for privilege, _ in offered])
            shares = shares / shares.sum() if shares.sum() else np.eye(len(offered))[0]
            _, hint = offered[numbers.choice(len(offered), p=shares)]
            prompt = chat.prompt(with_hint(chat.content(example), hint), images.of(example))
            pairs.append((prompt, chat.encode_response(response(example))))
        return pairs

    return draw
