"""One step of training: the student responds, what is right is told apart, the student learns. One loop for every method.

A batch may be scored in parts (micro-batches), whose tokens are weighted as parts of the whole: loss and gradient are those of the
whole batch, however it is split.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vicur.modeling.vision import ImageFeatures
from vicur.training.attempts import references, rollouts
from vicur.training.examples import TrainingExample
from vicur.training.learner import Learner
from vicur.training.lesson import Lesson
from vicur.training.phases import Phases
from vicur.training.vision import SharedFeatures


def training_step(learner: Learner, rows: Sequence[TrainingExample], step: int) -> dict[str, float]:
    """Makes step ``step`` (from 0) of the student on ``rows``: one batch, and ``updates_per_batch`` updates.

    Images are encoded once for each state of a tower: the student's features serve its rollout and its training forward, and the teacher
    while both towers are the same.

    Returns:
        The step's metrics. Of several updates, gaps and entropy are the first one's, where the student is still the one that sampled.

    Raises:
        FloatingPointError: where loss or gradient is not finite; the student is left as it was before the update.
    """
    phases, config = Phases(), learner.config
    images = [pixels for row in rows for pixels in row.student.pixels]
    seen = learner.vision.of(images)
    phases.end("vision")
    if config.effective.objective.type == "supervised":
        attempts = references(rows)
    else:
        attempts = rollouts(learner, rows, seen.detached(), step)
        phases.end("rollout")
    lesson = Lesson(learner, attempts, _teacher_features(learner, rows, seen, step), phases)
    phases.end("teacher")
    made: list[dict[str, float]] = []
    for number in range(config.updates_per_batch):
        if number:
            seen = learner.vision.of(images)
            phases.end("vision")
        made.append(_update(learner, lesson, seen, step))
    total = sum(phases.seconds.values())
    return {
        **{name: sum(metrics[name] for metrics in made) / len(made) for name in made[0]},
        "learning_rate": learner.learning_rate(step),
        **lesson.metrics(),
        **attempts.metrics,
        **phases.seconds,
        "tokens_per_second": attempts.tokens / total,
    }


def _teacher_features(
    learner: Learner, rows: Sequence[TrainingExample], seen: SharedFeatures, step: int
) -> dict[str, ImageFeatures]:
    if learner.teacher is None:
        return {}
    images = [pixels for row in rows for pixels in row.teacher.pixels]
    return learner.teacher.features(images, seen.detached(), step)


def _update(learner: Learner, lesson: Lesson, seen: SharedFeatures, step: int) -> dict[str, float]:
    """Makes one update of the student.

    Returns:
        Loss, the gradient's norm before clipping, and what the objective tells.
    """
    config, optimizer = learner.config, learner.optimizer
    for group in optimizer.param_groups:
        group["lr"] = learner.learning_rate(step)
    optimizer.zero_grad(set_to_none=True)
    totals: dict[str, float] = {}
    for part in lesson.parts():
        loss, told = lesson.loss(part, seen)
        loss.backward()
        share = sum(map(len, lesson.attempts.ids[part])) / lesson.attempts.tokens
        shares = {name: share * value for name, value in told.items()}
        for name, value in {"loss": float(loss.detach()), **shares}.items():
            totals[name] = totals.get(name, 0.0) + value
    seen.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    totals["gradient_norm"] = float(torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm))
    if not torch.tensor([totals["loss"], totals["gradient_norm"]]).isfinite().all():
        raise FloatingPointError(f"loss {totals['loss']}, gradient norm {totals['gradient_norm']}")
    optimizer.step()
    if learner.teacher is not None:
        learner.teacher.follow(learner.student)
    lesson.phases.end("update")
    return totals
