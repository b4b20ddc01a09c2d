"""The responses that a step learns from: rollouts of the student, or reference responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vicur.answers import is_correct
from vicur.config.objective import GroupObjective
from vicur.modeling.generation import Response
from vicur.modeling.vision import Encode, ImageFeatures
from vicur.prompts import shown_text
from vicur.seeds import substream
from vicur.training.diagnostics import hint_leakage, reward_metrics
from vicur.training.examples import TrainingExample
from vicur.training.metrics import Metrics
from vicur.training.objectives import group_advantages
from vicur.training.state import TrainState


@dataclass(frozen=True, eq=False)
class Responses:
    """Responses to a batch of prompts."""

    rows: Sequence[TrainingExample]  # the example of each response
    ids: Sequence[tuple[int, ...]]
    sampled: Sequence[Response]  # the rollouts; empty for reference responses
    advantages_B: Tensor | None  # if the objective reads advantages
    metrics: Metrics
    external: bool = False  # whether an engine other than the student sampled them
    stale: bool = False  # whether the student has been updated since they were sampled

    @property
    def tokens(self) -> int:
        return sum(map(len, self.ids))

    @property
    def off_policy(self) -> bool:
        """Whether the log-probabilities that they were sampled with are not the student's."""
        return self.external or self.stale

    def by_length(self) -> Responses:
        """Return the same responses, the longest with their prompts first."""
        # Lack of memory then shows in the first micro-batch.
        order = sorted(range(len(self.rows)), key=lambda n: -len(self.rows[n].student.ids) - len(self.ids[n]))
        return replace(
            self,
            rows=[self.rows[n] for n in order],
            ids=[self.ids[n] for n in order],
            sampled=[self.sampled[n] for n in order] if self.sampled else [],
            advantages_B=None if self.advantages_B is None else self.advantages_B[order],
        )

    def sampling_logprobs(self, rows: slice) -> Tensor:
        """Return the log-probabilities that the tokens of some rows were sampled with [B, R], zero at padding."""
        logprobs = [torch.tensor(response.logprobs) for response in self.sampled[rows]]
        return torch.nn.utils.rnn.pad_sequence(logprobs, batch_first=True)


def references(rows: Sequence[TrainingExample]) -> Responses:
    ids = [row.reference for row in rows]
    return Responses(rows, ids, [], None, _length_metrics(ids))


def rollouts(
    state: TrainState, rows: Sequence[TrainingExample], features: dict[str, ImageFeatures], step: int
) -> Responses:
    """Sample the student's responses to this rank's ``rows``, given the features of their images."""
    state.engine.update(step)
    sampled = sample(state, rows, step, lambda _: features)
    state.engine.release()
    return scored_rollouts(state, rows, sampled)


def sample(state: TrainState, rows: Sequence[TrainingExample], step: int, encode: Encode | None) -> list[Response]:
    """Return the responses to this rank's ``rows`` of batch ``step`` that the engine samples with the weights that it has.

    Args:
        encode: returns image features, for engines that accept them.
    """
    config, world, each = state.config, state.world, state.config.responses_per_prompt
    prompts = [row.student for row in rows for _ in range(each)]
    # Numbers of the responses in the batch of all ranks: what is sampled must not depend on the number of processes.
    numbers = range(world.rank, len(rows) * world.size, world.size)
    return state.engine.generate(
        prompts,
        config.rollout,
        seed=substream(state.seed, "rollout", step),
        batch_size=config.rollout_batch_size or len(prompts),
        encode=encode,
        streams=[number * each + place for number in numbers for place in range(each)],
    )


def scored_rollouts(
    state: TrainState, rows: Sequence[TrainingExample], sampled: Sequence[Response], *, stale: bool = False
) -> Responses:
    """Return sampled responses to ``rows`` with their rewards and metrics."""
    config, objective = state.config, state.config.effective.objective
    each = objective.responses_per_prompt
    repeated = [row for row in rows for _ in range(each)]
    pairs = [(response.text, row.example) for response, row in zip(sampled, repeated, strict=True)]
    correct = torch.tensor([float(is_correct(text, example, extractor="strict")) for text, example in pairs])
    ids = [response.ids for response in sampled]
    metrics = _length_metrics(ids)
    metrics.merge([hint_leakage([(text, shown_text(example.question, example.choices)) for text, example in pairs])])
    metrics.add_mean("unfinished_share", sum(not response.finished for response in sampled), len(sampled))
    metrics.add_mean("rollout_accuracy", float(correct.sum()), len(sampled))
    advantages_B = None
    if isinstance(objective, GroupObjective):
        rewards_GN = correct.view(len(rows), each)
        advantages_B = group_advantages(rewards_GN, scale=objective.scale).flatten()
        metrics.merge([reward_metrics(rewards_GN)])
    return Responses(repeated, ids, sampled, advantages_B, metrics, external=config.rollout.is_external, stale=stale)


def _length_metrics(ids: Sequence[tuple[int, ...]]) -> Metrics:
    metrics = Metrics()
    metrics.add_mean("response_tokens", sum(map(len, ids)), len(ids))
    return metrics
