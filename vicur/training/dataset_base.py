"""Train a tiny base for any prepared dataset, so that the whole pipeline can be tried on it without a GPU.

    vicur base train models/mine --data data

It is trained on the split ``base``, or on a share of the groups of ``distill``, never on the splits that are evaluated. The vision tower
first learns from the images (:mod:`vicur.training.vision_pretraining`); then the whole model learns reference responses to prompts with and
without hints, so that it can be its own teacher: with a hint it answers better than without.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3VLForConditionalGeneration

from vicur.answers import is_correct
from vicur.config.sampling import Sampling
from vicur.config.tiny_base import DatasetBaseConfig
from vicur.cues import read_cues
from vicur.cues.hints import hint_for, with_hint
from vicur.data import dvc_hash, read_examples, read_manifest
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.modeling import parameter_count, save_model
from vicur.modeling.chat import Chat
from vicur.modeling.generation import generate
from vicur.modeling.tiny.architecture import tiny_config, tiny_image_processor
from vicur.modeling.tiny.byte_tokenizer import byte_tokenizer
from vicur.seeds import numpy_generator, substream
from vicur.stage.code_version import code_version
from vicur.stage.events import Events
from vicur.storage.folders import tree_sha256
from vicur.training.dataset_base_examples import (
    HINTS,
    batches,
    described,
    response,
    texts,
    training_part,
    usable,
    with_cues,
)
from vicur.training.examples import PixelStore
from vicur.training.from_scratch import train_on_responses
from vicur.training.scratch_checkpoints import ScratchCheckpoints
from vicur.training.vision_pretraining import train_vision

_PATCHES = 256  # positions of the vision tower: those of the largest image of the default recipe
_SPARE = 8  # tokens that a response may be longer than the longest reference
_LONGEST_RESPONSE = 256  # tokens


def train_dataset_base(
    config: DatasetBaseConfig,
    dataset: Path,
    output: Path,
    events: Events,
    *,
    cues: Path | None = None,
    checkpoints: Path | None = None,
) -> dict[str, Any]:
    """Train a base on a prepared dataset and write it to ``output``. Returns its record in ``vicur.json``: recipe and accuracy.

    Args:
        cues: an extraction, whose cues replace those of the dataset.
        checkpoints: folder for checkpoints, from which the same training resumes; ``None`` keeps none.

    Raises:
        VicurError: if the folder is not a prepared dataset, or has no examples to train on, or no cues for them.
    """
    torch.set_num_threads(1)
    texts_of_cues = None if cues is None else read_cues(cues)
    split, examples = training_part(dataset, config)
    examples = with_cues(examples, texts_of_cues)
    if cues is not None and not any(example.cue for example in examples):
        raise VicurError(
            f"has no cue for any of the {len(examples):,} examples of {split} that the base is trained on.",
            where=str(cues),
            remedy=f"Extract some with --set cues.splits=[distill,{split}], or leave --cues out."
            if split != "distill"
            else "Name the cues of this dataset, or leave --cues out.",
        )
    data_hash, cues_hash = dvc_hash(dataset).md5, "" if cues is None else tree_sha256(cues)
    saved = None if checkpoints is None else _checkpoints(config, data_hash, cues_hash, checkpoints)
    tokenizer = byte_tokenizer(texts(examples), config.vocabulary, longest=config.max_tokens)
    chat = Chat(tokenizer, tiny_image_processor(config.min_pixels, config.max_pixels))
    short = usable(examples, chat, config, dataset, split)
    images = PixelStore(chat)
    torch.manual_seed(substream(config.seed, "dataset_base", "weights"))
    sizes = tiny_config(tokenizer, config.sizes, longest=config.max_tokens, patches=_PATCHES)
    model = Qwen3VLForConditionalGeneration(sizes)
    progress = _Progress(config, events)
    pictured = described(short, chat)
    if pictured and (saved is None or saved.phase == "vision"):
        train_vision(model, pictured, images, config, progress.vision, saved)
    numbers = numpy_generator(config.seed, "dataset_base", "text")
    draw = batches(short, images, chat, config, numbers)
    train_on_responses(model, chat, draw, numbers, config, progress.responses, saved)
    model.eval()
    record: dict[str, Any] = {
        "recipe": config.model_dump(mode="json"),
        "dataset": {
            "hash": data_hash,
            "split": split,
            "examples": len(short),
            "left_out": len(examples) - len(short),
            **({"cues": cues_hash} if cues_hash else {}),
        },
        "parameters": parameter_count(model).total,
        "versions": {name: version(name).split("+")[0] for name in ("torch", "transformers", "tokenizers", "numpy")},
        "checked": _checked(model, chat, dataset, short, config, texts_of_cues),
    }
    with tempfile.TemporaryDirectory() as beside:
        chat.save(Path(beside))
        save_model(model, output, chat_folder=Path(beside), record=record)
    return record


def _checkpoints(config: DatasetBaseConfig, dataset: str, cues: str, folder: Path) -> ScratchCheckpoints:
    identity = {
        "recipe": config.model_dump(mode="json"),
        "dataset": dataset,
        "cues": cues,
        "code": code_version(__name__),
    }
    # A folder for each training, so that one with other settings starts anew.
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    return ScratchCheckpoints(folder / name, identity, {"vision": config.vision_steps, "responses": config.steps})


class _Progress:
    """Reports the steps of both trainings as one, with the time left."""

    def __init__(self, config: DatasetBaseConfig, events: Events) -> None:
        self._vision_steps = config.vision_steps
        self._total = config.vision_steps + config.steps
        self._events = events
        self._started = time.monotonic()
        self._first = 0  # the first step on responses that this process made

    def vision(self, step: int, loss: float) -> None:
        self._events.progress(step, self._total, f"vision tower: loss {loss:.3f}")

    def responses(self, step: int, loss: float) -> None:
        # The steps of the two trainings take different times, and a resumed training begins in between.
        if not self._first:
            self._first, self._started = step, time.monotonic()
        made = step - self._first
        left = (time.monotonic() - self._started) / max(1, made) * (self._total - self._vision_steps - step)
        estimate = f", {left / 60:.0f} min left" if left >= 60 else f", {left:.0f} s left" if made else ""
        self._events.progress(self._vision_steps + step, self._total, f"responses: loss {loss:.3f}{estimate}")


def _checked(
    model: Qwen3VLForConditionalGeneration,
    chat: Chat,
    dataset: Path,
    trained_on: Sequence[Example],
    config: DatasetBaseConfig,
    cues: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Return the greedy accuracy with each hint on examples that the base was not trained on, if the dataset has such a split."""
    counts = read_manifest(dataset).examples
    split = next((each for each in ("validation", "test", "ood") if counts.get(each)), None)
    examples = list(trained_on) if split is None else read_examples(dataset, split)
    order = numpy_generator(config.seed, "dataset_base", "check").permutation(len(examples))[: config.checked]
    chosen = [examples[n] for n in sorted(order)]
    if split is not None:
        chosen = with_cues(chosen, cues)
    longest = max(len(chat.encode_response(response(example))) for example in trained_on)
    greedy = Sampling(temperature=0, max_new_tokens=min(longest + _SPARE, _LONGEST_RESPONSE))
    images = PixelStore(chat)
    accuracy: dict[str, float] = {}
    for privilege in HINTS:
        hinted = [(example, hint_for(privilege, example, example.cue)) for example in chosen]
        rows = [(example, hint) for example, hint in hinted if privilege == "none" or hint is not None]
        if not rows:
            continue
        prompts = [chat.prompt(with_hint(chat.content(example), hint), images.of(example)) for example, hint in rows]
        answers = generate(model, chat, prompts, greedy, seed=0)
        correct = sum(is_correct(answer.text, example) for answer, (example, _) in zip(answers, rows, strict=True))
        accuracy[privilege] = round(correct / len(rows), 4)
    frequent = Counter(example.answer for example in trained_on).most_common(1)[0][0]
    return {
        "split": split or "the training examples",
        "examples": len(chosen),
        "most_frequent_answer": round(sum(is_correct(f"Answer: {frequent}", e) for e in chosen) / len(chosen), 4),
        "accuracy": accuracy,
    }
