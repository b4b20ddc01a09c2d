"""The responses that a step learns from: the student's rollouts, or references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vicur.answers import is_correct
from vicur.modeling.generation import Response
from vicur.modeling.vision import ImageFeatures
from vicur.seeds import substream
from vicur.training.diagnostics import hint_leakage, reward_metrics
from vicur.training.examples import TrainingExample
from vicur.training.metrics import Metrics
from vicur.training.objectives import group_advantages
from vicur.training.state import TrainState
from vicur.training.world import World


@dataclass(frozen=True, eq=False)
class Responses:
    """Responses, one a row; of one prompt side by side.

    Attributes:
        rows: what each responds to.
        ids: token ids of each.
        sampled: the rollouts that they are; empty for references.
        advantages_B: how much better each is than others to its prompt, under ``grpo``.
        tally: what is known of them before any forward.
        elsewhere: whether another engine than the student itself drew them.
    """

    rows: Sequence[TrainingExample]
    ids: Sequence[tuple[int, ...]]
    sampled: Sequence[Response]
    advantages_B: Tensor | None
    tally: Metrics
    elsewhere: bool = False

    @property
    def tokens(self) -> int:
        """Tokens of all responses."""
        return sum(map(len, self.ids))

    def drawn_logprobs(self, rows: slice) -> Tensor:
        """Log-probabilities that the tokens of some rows were sampled with, zero at padding [B, R]."""
        drawn = [torch.tensor(response.logprobs) for response in self.sampled[rows]]
        return torch.nn.utils.rnn.pad_sequence(drawn, batch_first=True)


def references(rows: Sequence[TrainingExample]) -> Responses:
    """The reference responses of ``rows``."""
    ids = [row.reference for row in rows]
    return Responses(rows, ids, [], None, _lengths(ids))


def rollouts(
    learner: TrainState, rows: Sequence[TrainingExample], features: dict[str, ImageFeatures], step: int
) -> Responses:
    """The student's own answers to ``rows``, as many to each as the objective asks for.

    Args:
        learner: the student and how it samples.
        rows: the prompts of this process, every n-th of the batch's.
        features: features of their images from the student's tower.
        step: step number, which names the substream of the draws.
    """
    config, objective = learner.config, learner.config.effective.objective
    asked = [row for row in rows for _ in range(config.responses_per_prompt)]
    streams = _streams(len(rows), config.responses_per_prompt, learner.processes)
    learner.engine.update(step)
    sampled = learner.engine.generate(
        [row.student for row in asked],
        config.rollout,
        seed=substream(learner.seed, "rollout", step),
        batch_size=config.rollout_batch_size or len(asked),
        encode=lambda _: features,
        streams=streams,
    )
    right = torch.tensor([float(is_correct(r.text, row.example)) for r, row in zip(sampled, asked, strict=True)])
    ids = [response.ids for response in sampled]
    tally = _lengths(ids)
    tally.join([hint_leakage([response.text for response in sampled])])
    tally.average("unfinished_share", sum(not response.finished for response in sampled), len(sampled))
    tally.average("rollout_accuracy", float(right.sum()), len(sampled))
    advantages_B = None
    if objective.type == "grpo":
        rewards_GN = right.view(len(rows), objective.group_size)
        advantages_B = group_advantages(rewards_GN, scale=objective.scale).flatten()
        tally.join([reward_metrics(rewards_GN)])
    return Responses(asked, ids, sampled, advantages_B, tally, elsewhere=config.rollout.elsewhere)


def _streams(prompts: int, each: int, processes: World) -> list[int]:
    """Numbers of the responses in the whole batch: what a response draws does not depend on the process that draws it."""
    numbers = range(processes.rank, prompts * processes.count, processes.count)
    return [number * each + place for number in numbers for place in range(each)]


def _lengths(ids: Sequence[tuple[int, ...]]) -> Metrics:
    tally = Metrics()
    tally.average("response_tokens", sum(map(len, ids)), len(ids))
    return tally
