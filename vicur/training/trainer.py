"""The loop around the steps: validation, the best weights, checkpoints, early stopping, and going on after a kill.

Whatever is drawn is drawn from substreams of the root seed that are named by the step, so there is no generator state to keep: a
training that resumes from a checkpoint makes the same updates, bit for bit, as one that was never interrupted.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vicur.answers import is_correct
from vicur.config.sampling import Sampling
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.modeling.chat import Prompt
from vicur.modeling.generation import generate
from vicur.stage import Context
from vicur.training.checkpoint import (
    Checkpoint,
    Progress,
    optimizer_state,
    restore_optimizer,
    restore_weights,
    trained_weights,
)
from vicur.training.checkpoint_store import CheckpointStore
from vicur.training.diagnostics import epoch_leakage
from vicur.training.examples import TrainingExample, batch_rows
from vicur.training.interruption import Interruption, interrupted
from vicur.training.learner import Learner
from vicur.training.step import training_step

log = logging.getLogger(__name__)

_VALIDATION_BATCH = 128
# A record of a step holds the first, that of step 0 the second.
_IN_EACH_RECORD = ("loss", "validation_accuracy")


@dataclass(frozen=True, eq=False)
class Validation:
    """Questions that the best weights are chosen by, with their prompts."""

    examples: Sequence[Example]
    prompts: Sequence[Prompt]

    def accuracy(self, learner: Learner) -> float:
        """Greedy accuracy of the student."""
        config = learner.config
        answers = generate(
            learner.student,
            learner.chat,
            self.prompts,
            Sampling(temperature=0, max_new_tokens=config.rollout.max_new_tokens),
            seed=learner.seed,
            batch_size=config.rollout_batch_size or _VALIDATION_BATCH,
            encode=learner.vision.encode,
        )
        right = sum(is_correct(a.text, e) for a, e in zip(answers, self.examples, strict=True))
        return right / len(self.examples)


def fit(
    learner: Learner,
    examples: Sequence[TrainingExample],
    validation: Validation,
    store: CheckpointStore,
    context: Context,
) -> Progress:
    """Trains the student and leaves it with its best weights, or its last.

    A step's metrics are sent to the tracker when the checkpoint that covers it is whole, so that a run which was killed shows no step
    twice and none that its student has not made.

    Raises:
        VicurError: where the loss is not finite, where the checkpoints are another training's, and after SIGTERM, once the step is
            finished and kept.
    """
    config = learner.config
    with Interruption() as interruption:
        progress, best = _resume_or_begin(learner, validation, store, context)
        while progress.step < config.steps and progress.stale < config.patience:
            rows = [examples[n] for n in batch_rows(len(examples), config.batch_size, learner.seed, progress.step)]
            progress.records.append({"step": progress.step + 1, **_step(learner, rows, progress.step)})
            progress.step += 1
            progress.records[-1] |= epoch_leakage(progress.records, progress.step, config.batch_size, len(examples))
            last = progress.step == config.steps
            if last or progress.step % config.validate_every == 0:
                best = _validate(learner, validation, progress, best)
                last = last or progress.stale >= config.patience
            if last or interruption.asked or progress.step % config.checkpoint_every == 0:
                store.save(_checkpoint(learner, best, progress, store))
                _send(progress, context)
            context.events.progress(progress.step, config.steps, _line(progress))
            if interruption.asked and not last:
                raise interrupted(progress.step, config.steps)
    if config.keep == "best":
        restore_weights(learner.student, best)
    return progress


def _step(learner: Learner, rows: Sequence[TrainingExample], step: int) -> dict[str, float]:
    try:
        return training_step(learner, rows, step)
    except FloatingPointError as error:
        raise VicurError(
            f"training came to {error} at step {step + 1}.",
            where=f"method {learner.config.method}",
            remedy="Lower learning_rate or the objective's clamp; the checkpoint before this step is kept.",
        ) from error


def _resume_or_begin(
    learner: Learner, validation: Validation, store: CheckpointStore, context: Context
) -> tuple[Progress, dict[str, Tensor]]:
    found = store.newest()
    if found is not None:
        restore_weights(learner.student, found.model)
        restore_optimizer(learner.student, learner.optimizer, found.optimizer)
        learner.load_extra_state(found.extra)
        log.info("resumes at step %d", found.progress.step)
        _send(found.progress, context)
        return found.progress, dict(found.best)
    accuracy = validation.accuracy(learner)
    progress = Progress(0, accuracy, 0, 0, [{"step": 0, "validation_accuracy": accuracy}])
    return progress, trained_weights(learner.student)


def _checkpoint(learner: Learner, best: dict[str, Tensor], progress: Progress, store: CheckpointStore) -> Checkpoint:
    return Checkpoint(
        progress=progress,
        identity=store.identity,
        model=trained_weights(learner.student),
        best=best,
        optimizer=optimizer_state(learner.student, learner.optimizer),
        extra=learner.extra_state(),
    )


def _validate(
    learner: Learner, validation: Validation, progress: Progress, best: dict[str, Tensor]
) -> dict[str, Tensor]:
    accuracy = validation.accuracy(learner)
    progress.records[-1]["validation_accuracy"] = accuracy
    if accuracy > progress.best_accuracy:
        progress.best_accuracy, progress.best_step, progress.stale = accuracy, progress.step, 0
        return trained_weights(learner.student)
    progress.stale += 1
    return best


def _send(progress: Progress, context: Context) -> None:
    """Sends the records that the tracker does not have yet. It is asked which those are: a killed process cannot say what it has sent."""
    sent = context.tracker.last_step(_IN_EACH_RECORD)
    for record in progress.records:
        if record["step"] > sent:
            context.tracker.metrics({k: v for k, v in record.items() if k != "step"}, step=record["step"])
    context.tracker.flush()


def write_metrics(progress: Progress, path: Path) -> None:
    """Writes the training curves, a JSON line a step."""
    path.write_text("".join(json.dumps(record) + "\n" for record in progress.records), encoding="utf-8")


def _line(progress: Progress) -> str:
    newest: dict[str, Any] = progress.records[-1]
    parts = [f"validation {progress.best_accuracy:.3f} (step {progress.best_step})", f"loss {newest['loss']:.3f}"]
    if "rollout_accuracy" in newest:
        parts.append(f"rollouts {newest['rollout_accuracy']:.2f}")
    if "gap/whole" in newest:
        parts.append(f"gap {newest['gap/whole']:+.2f}")
    return ", ".join(parts)
