"""One step of training: the student responds, what is right is told apart, the student learns. One loop for every method.

A batch may be scored in parts (micro-batches), whose tokens are weighted as parts of the whole: loss and gradient are those of the
whole batch, however it is split.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch.distributed.tensor import DTensor

from vicur.errors import VicurError
from vicur.modeling.vision import ImageFeatures
from vicur.training.batch import references, rollouts
from vicur.training.examples import TrainingExample
from vicur.training.lesson import ScoredBatch
from vicur.training.metrics import Metrics
from vicur.training.phases import Phases
from vicur.training.rollout.gap import require_near
from vicur.training.state import TrainState
from vicur.training.vision import SharedFeatures


def training_step(learner: TrainState, rows: Sequence[TrainingExample], step: int) -> dict[str, float]:
    """Makes step ``step`` (from 0) of the student on ``rows``: one batch, and ``updates_per_batch`` updates. Each process takes its share
    of the rows.

    Images are encoded once for each state of a tower: the student's features serve its rollout and its training forward, and the teacher
    while both towers are the same.

    Returns:
        The step's metrics, those of all processes; times are this one's. Of several updates, gaps and entropy are the first one's, where
        the student is still the one that sampled.

    Raises:
        FloatingPointError: where loss or gradient is not finite; the student is left as it was before the update.
        VicurError: where another engine drew the rollouts, and what it holds or tells of them is not the student's; so too.
    """
    phases, config = Phases(), learner.config
    rows = learner.processes.share(rows)
    images = [pixels for row in rows for pixels in row.student.pixels]
    seen = learner.vision.of(images)
    phases.end("vision")
    if config.effective.objective.type == "supervised":
        attempts = references(rows)
    else:
        attempts = rollouts(learner, rows, seen.detached(), step)
        phases.end("rollout")
    lesson = ScoredBatch(learner, attempts, _teacher_features(learner, rows, seen, step), phases)
    phases.end("teacher")
    made: list[dict[str, float]] = []
    for number in range(config.updates_per_batch):
        if number:
            seen = learner.vision.of(images)
            phases.end("vision")
        made.append(_update(learner, lesson, seen, step, first=number == 0))
    tally = Metrics()
    tally.add("tokens", attempts.tokens)
    tally.join([lesson.tally(), attempts.tally])
    told = _together(learner, tally)
    tokens = told.pop("tokens")
    return {
        **_mean(made),
        "learning_rate": learner.learning_rate(step),
        **told,
        **phases.seconds,
        "tokens_per_second": tokens / sum(phases.seconds.values()),
    }


def _mean(made: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over the updates; what only some tell, over those."""
    told = {name: [metrics[name] for metrics in made if name in metrics] for name in {n: None for m in made for n in m}}
    return {name: sum(values) / len(values) for name, values in told.items()}


def _together(learner: TrainState, mine: Metrics) -> dict[str, float]:
    """What all processes have counted."""
    tally = Metrics()
    tally.join(learner.processes.gather(mine))
    return tally.metrics()


def _teacher_features(
    learner: TrainState, rows: Sequence[TrainingExample], seen: SharedFeatures, step: int
) -> dict[str, ImageFeatures]:
    if learner.teacher is None:
        return {}
    images = [pixels for row in rows for pixels in row.teacher.pixels]
    return learner.teacher.features(images, seen.detached(), step)


def _update(
    learner: TrainState, lesson: ScoredBatch, seen: SharedFeatures, step: int, *, first: bool
) -> dict[str, float]:
    """Makes one update of the student; the first on a batch only where its rollouts are the student's.

    Returns:
        Loss, the gradient's norm before clipping, and what the objective tells.
    """
    config, optimizer, spread = learner.config, learner.optimizer, learner.spread
    for group in optimizer.param_groups:
        group["lr"] = learner.learning_rate(step)
    tally = Metrics()
    for part in (parts := list(lesson.parts())):
        with nullcontext() if part is parts[-1] else spread.accumulating():
            loss, told = lesson.loss(part, seen)
            # Gradients are averaged over the processes, and each has its share of the loss.
            (loss * learner.processes.count).backward()
        tokens = sum(map(len, lesson.attempts.ids[part]))
        tally.add("loss", float(loss.detach()))
        for name, share in told.items():
            tally.average(name, share * tokens, tokens)
    seen.backward()
    if learner.teacher is not None:
        learner.teacher.settle()
    if first:
        tally.join([lesson.engine_gap()])
    totals = _together(learner, tally)
    if first:
        try:
            require_near(totals, config.rollout.max_logprob_gap, step)
        except VicurError:
            optimizer.zero_grad()
            raise
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
    totals["gradient_norm"] = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    if not all(math.isfinite(totals[name]) for name in ("loss", "gradient_norm")):
        optimizer.zero_grad()
        raise FloatingPointError(f"loss {totals['loss']}, gradient norm {totals['gradient_norm']}")
    optimizer.step()
    # At once: until the next backward, rollouts need the memory.
    optimizer.zero_grad()
    if learner.teacher is not None:
        learner.teacher.follow(learner.student)
    lesson.phases.end("update")
    return totals
