"""How much of what a training learned survives saving, by the type of the saved weights (``training.save_dtype``).

    .venv/bin/python -m benchmarks.save_precision [--steps 8 32] [--rates 1e-6 1e-5] [--seed 0] [--json FILE]

The shipped tiny base, with its weights rounded to bfloat16 as published checkpoints have them, is trained with opsd. Let d be the change of
the log-probabilities of fixed responses from the base to the float32 weights, and d' that to the saved ones. ``kept`` is <d', d> / <d, d>:
the part of the effect that survives. ``noise`` is the length of what is left of d', relative to d. ``changed`` is the share of the
weights whose bfloat16 value differs from the base's.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from benchmarks.reporting import report
from vicur.config.base import BaseModelConfig
from vicur.config.data import DigitScenesConfig, Pool
from vicur.config.training import TrainConfig
from vicur.data.digit_scenes import build_pools
from vicur.modeling import load_model, save_model
from vicur.modeling.chat import Chat
from vicur.modeling.scoring import score_responses, text_config
from vicur.modeling.vision import encode_images
from vicur.training.checkpoint import trained_weights
from vicur.training.examples import TrainingExample
from vicur.training.saving import changed_share
from vicur.training.selection import training_examples
from vicur.training.state import build_state, final_student
from vicur.training.step import training_step
from vicur.training.world import World

KINDS = ("float32", "bfloat16", "stochastic")
_BATCH = 16


@torch.no_grad()
def logprobs(model: Qwen3VLForConditionalGeneration, chat: Chat, rows: Sequence[TrainingExample]) -> Tensor:
    """Return the log-probabilities of the rows' answers [N], computed in float32."""
    model = model.float()
    responses = [chat.encode_response(str(row.example.answer)) for row in rows]
    batch = chat.collate([row.student for row in rows], responses)
    forbidden = chat.forbidden_ids(text_config(model).vocab_size)
    scores = score_responses(model, batch, encode_images(model, batch.pixels), forbidden)
    return scores.logprobs_BR[batch.response_mask].double()


def measure(base: Path, rate: float, steps: int, seed: int, work: Path) -> list[dict[str, Any]]:
    """Return a row for each type of the saved weights."""
    config = TrainConfig.model_validate(
        {"method": "opsd", "learning_rate": rate, "warmup_steps": 0, "batch_size": _BATCH, "steps": steps}
    )
    chat = Chat.load(base, config.prompts)
    small = Pool(digits_per_class=2, scenes=4)
    pools = build_pools(DigitScenesConfig(base=small, distill=small, validation=small, test=small, ood=small), seed)
    cues = {example.id: str(example.cue) for example in pools["distill"]}
    rows = training_examples(pools["distill"], cues, chat, config)[0]
    held_out = training_examples(pools["validation"], {e.id: str(e.cue) for e in pools["validation"]}, chat, config)[0]
    state = build_state(config, {"base": base}, chat, seed, World.single("cpu"), work)
    for step in range(steps):
        start = step * _BATCH % len(rows)
        training_step(state, [rows[(start + n) % len(rows)] for n in range(_BATCH)], step)
    weights = {name: weight.clone() for name, weight in trained_weights(state.student).items()}
    before = logprobs(load_model(base), chat, held_out[:64])
    found = []
    for kind in KINDS:
        state = build_state(
            config.model_copy(update={"save_dtype": kind}), {"base": base}, chat, seed, World.single("cpu"), work
        )
        student = final_student(state, weights, base)
        changed = changed_share(student, base)
        found.append((kind, changed, logprobs(student, chat, held_out[:64]) - before))
    effect = found[0][2]
    return [
        {
            "learning rate": rate,
            "steps": steps,
            "save_dtype": kind,
            "changed": changed,
            "kept": float(saved @ effect / (effect @ effect)),
            "noise": float((saved - (saved @ effect / (effect @ effect)) * effect).norm() / effect.norm()),
        }
        for kind, changed, saved in found
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-6, 1e-5])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        base, shipped = Path(folder) / "base", Path(BaseModelConfig().folder)
        save_model(load_model(shipped, dtype=torch.bfloat16), base, chat_folder=shipped)
        for rate in options.rates:
            for steps in options.steps:
                rows += measure(base, rate, steps, options.seed, Path(folder) / "work")
    report("What saving keeps of a training", rows, options.json)


if __name__ == "__main__":
    main()
