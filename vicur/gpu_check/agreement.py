"""Agreement of a device with the CPU in float32: log-probabilities, greedy responses, loss and gradient of the tiny base."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vicur.config.base import BaseModelConfig
from vicur.config.data import DigitScenesConfig, Pool
from vicur.config.sampling import Sampling
from vicur.config.training import TrainConfig
from vicur.data.digit_scenes import build_pools
from vicur.modeling.chat import Chat
from vicur.modeling.generation import generate
from vicur.modeling.scoring import score_responses
from vicur.modeling.vision import encode_images
from vicur.training.selection import training_examples
from vicur.training.state import build_state
from vicur.training.step import training_step
from vicur.training.world import World

_SCENES = DigitScenesConfig(distill=Pool(digits_per_class=4, scenes=8))
_ROWS = 16


@dataclass(frozen=True, eq=False)
class Numbers:
    """What a device computes."""

    logprobs: torch.Tensor  # of the reference responses, given the teacher's prompts [tokens]
    responses: list[tuple[int, ...]]  # greedy
    loss: float
    gradient: float  # its norm


@dataclass(frozen=True)
class Bars:
    """Largest differences from the CPU in float32."""

    logprob: float  # mean over the tokens, in nats
    loss: float  # relative
    gradient: float  # relative
    tokens: float  # smallest share of equal responses


FLOAT32 = Bars(logprob=1e-4, loss=1e-4, gradient=1e-3, tokens=0.95)
BF16 = Bars(logprob=0.05, loss=0.05, gradient=0.1, tokens=0.0)


def numbers(device: str, precision: str) -> Numbers:
    """Compute with the shipped tiny base: the same on every machine, up to rounding."""
    config = TrainConfig.model_validate(
        {
            "method": "sft",
            "objective": {"type": "supervised"},
            "batch_size": _ROWS,
            "mixed_precision": precision,
            "features": {"disk_gb": 0},
            "max_grad_norm": 1e9,
        }
    )
    base = BaseModelConfig().folder
    chat = Chat.load(base, config.prompts)
    pool = build_pools(_SCENES, seed=0)["distill"][:_ROWS]
    rows = list(training_examples(pool, {each.id: str(each.cue) for each in pool}, chat, config)[0])
    with tempfile.TemporaryDirectory(prefix="vicur-") as work:
        state = build_state(config, {"base": base}, chat, 0, World.single(device), Path(work))
        prompts, references = [row.student for row in rows], [row.reference for row in rows]

        def score() -> torch.Tensor:
            batch = chat.collate(prompts, references, device=str(state.student.device))
            features = encode_images(state.student, batch.pixels)
            forbidden = chat.forbidden_ids(len(state.student.lm_head.weight)).to(state.student.device)
            scores = score_responses(state.student, batch, features, forbidden)
            return scores.logprobs_BR[batch.response_mask].float().cpu()

        with torch.no_grad():
            logprobs: torch.Tensor = state.parallel.run(score)
        greedy = Sampling(temperature=0, max_new_tokens=16)
        answers = state.parallel.run(lambda: generate(state.student, chat, prompts, greedy, seed=0))
        metrics = training_step(state, rows, 0)
        state.close()
    return Numbers(logprobs, [answer.ids for answer in answers], metrics["loss"], metrics["gradient_norm"])


def agree(own: Numbers, golden: Numbers, bars: Bars) -> dict[str, Any]:
    """Compare a device's numbers with those of the CPU."""
    equal = sum(a == b for a, b in zip(own.responses, golden.responses, strict=True)) / len(golden.responses)
    values = {
        "logprob": float((own.logprobs - golden.logprobs).abs().mean()),
        "loss": abs(own.loss - golden.loss) / abs(golden.loss),
        "gradient": abs(own.gradient - golden.gradient) / golden.gradient,
        "tokens": equal,
    }
    within = all(math.isfinite(value) for value in values.values()) and equal >= bars.tokens
    within = within and all(values[name] <= getattr(bars, name) for name in ("logprob", "loss", "gradient"))
    detail = (
        f"log-probs differ by {values['logprob']:.1e} nats (bar {bars.logprob:g}), loss by {values['loss']:.1e} ({bars.loss:g}), "
        f"gradient norm by {values['gradient']:.1e} ({bars.gradient:g}); {equal:.0%} of the greedy responses are equal"
    )
    return {"status": "passed" if within else "failed", "detail": detail, "values": values}


def tiny_step(world: World, rollout: dict[str, Any]) -> dict[str, float]:
    """Make a step of ``vicur`` with the tiny base and return its metrics. ``rollout`` are settings of the rollouts."""
    values = {"batch_size": 4, "features": {"disk_gb": 0}, "rollout": {"max_new_tokens": 8, **rollout}}
    config = TrainConfig.model_validate({"method": "vicur", **values})
    base = BaseModelConfig().folder
    chat = Chat.load(base, config.prompts)
    pool = build_pools(DigitScenesConfig(distill=Pool(digits_per_class=4, scenes=4)), seed=0)["distill"][:4]
    rows = list(training_examples(pool, {each.id: str(each.cue) for each in pool}, chat, config)[0])
    with tempfile.TemporaryDirectory(prefix="vicur-") as work:
        state = build_state(config, {"base": base}, chat, 0, world, Path(work))
        try:
            return training_step(state, rows, 0)
        finally:
            state.close()
