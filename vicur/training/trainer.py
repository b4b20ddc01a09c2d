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
from vicur.processes.signals import asked_to_stop
from vicur.stage.runner import Context
from vicur.training.checkpoint import (
    Checkpoint,
    Progress,
    optimizer_state,
    restore,
    restore_optimizer,
    trained_weights,
)
from vicur.training.checkpoint_store import CheckpointStore
from vicur.training.diagnostics import epoch_leakage
from vicur.training.examples import TrainingExample, batch_rows
from vicur.training.interruption import Interruption
from vicur.training.state import TrainState
from vicur.training.step import training_step

log = logging.getLogger(__name__)

_VALIDATION_BATCH = 128
# A record of a step holds the first, that of step 0 the second.
IN_EACH_RECORD = ("loss", "validation_accuracy")


@dataclass(frozen=True, eq=False)
class Validation:
    """Questions that the best weights are chosen by, with their prompts."""

    examples: Sequence[Example]
    prompts: Sequence[Prompt]

    def accuracy(self, learner: TrainState, step: int = 0) -> float:
        """Greedy accuracy of the student after ``step`` updates. Each process asks its share of the questions."""
        config, processes = learner.config, learner.processes
        learner.engine.update(step)
        answers = learner.engine.generate(
            processes.share(self.prompts),
            Sampling(temperature=0, max_new_tokens=config.rollout.max_new_tokens),
            seed=learner.seed,
            batch_size=config.rollout_batch_size or _VALIDATION_BATCH,
            encode=learner.vision.encode,
        )
        pairs = zip(answers, processes.share(self.examples), strict=True)
        right = processes.gather(sum(is_correct(answer.text, example) for answer, example in pairs))
        return sum(right) / len(self.examples)


def fit(
    learner: TrainState,
    examples: Sequence[TrainingExample],
    validation: Validation,
    store: CheckpointStore,
    context: Context,
    stop: Path | None = None,
) -> tuple[Progress, dict[str, Tensor]]:
    """Trains the student.

    A step's metrics are sent to the tracker when the checkpoint that covers it is whole, so that a run which was killed shows no step
    twice and none that its student has not made. Checkpoints and metrics are process 0's business, which alone has the best weights.

    Args:
        learner: what takes part.
        examples: what the student learns from.
        validation: what its best weights are chosen by.
        store: where checkpoints are kept.
        context: where metrics and progress are told.
        stop: file that asks the training to stop, as SIGTERM does, when it appears.

    Returns:
        How the training went, and the weights to be kept: those that were best on validation, or the last.

    Raises:
        VicurError: where the loss is not finite, where the checkpoints are another training's, and after SIGTERM, once the step is
            finished and kept.
    """
    config, processes = learner.config, learner.processes
    with Interruption(stop) as interruption:
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
            asked = processes.any(interruption.asked)
            if last or asked or progress.step % config.checkpoint_every == 0:
                _keep(learner, best, progress, store)
                _send(progress, context)
            context.events.progress(progress.step, config.steps, _line(progress))
            if asked and not last:
                raise asked_to_stop(
                    f"was asked to stop (SIGTERM) and did, at step {progress.step} of {config.steps}, with a checkpoint."
                )
    return progress, best if config.keep == "best" else processes.collect(trained_weights(learner.student))


def _step(learner: TrainState, rows: Sequence[TrainingExample], step: int) -> dict[str, float]:
    try:
        return training_step(learner, rows, step)
    except FloatingPointError as error:
        raise VicurError(
            f"training came to {error} at step {step + 1}.",
            where=f"method {learner.config.method}",
            remedy="Lower learning_rate or the objective's clamp; the checkpoint before this step is kept.",
        ) from error


def _resume_or_begin(
    learner: TrainState, validation: Validation, store: CheckpointStore, context: Context
) -> tuple[Progress, dict[str, Tensor]]:
    processes, student = learner.processes, learner.student
    found = store.newest() if processes.is_main else None
    progress = processes.from_main(None if found is None else found.progress)
    if progress is None:
        accuracy = validation.accuracy(learner)
        progress = Progress(0, accuracy, 0, 0, [{"step": 0, "validation_accuracy": accuracy}])
        return progress, processes.collect(trained_weights(student))
    restore({} if found is None else found.model, trained_weights(student), processes)
    restore_optimizer(student, learner.optimizer, {} if found is None else found.optimizer, processes)
    restore({} if found is None else found.extra, learner.extra_state(), processes)
    log.info("resumes at step %d", progress.step)
    _send(progress, context)
    return progress, {} if found is None else dict(found.best)


def _keep(learner: TrainState, best: dict[str, Tensor], progress: Progress, store: CheckpointStore) -> None:
    """Writes a checkpoint. All processes hand over what they have; process 0 writes."""
    processes = learner.processes
    made = Checkpoint(
        progress=progress,
        identity=store.identity,
        model=processes.collect(trained_weights(learner.student)),
        best=best,
        optimizer=optimizer_state(learner.student, learner.optimizer, processes),
        extra=processes.collect(learner.extra_state()),
    )
    if processes.is_main:
        store.save(made)


def _validate(
    learner: TrainState, validation: Validation, progress: Progress, best: dict[str, Tensor]
) -> dict[str, Tensor]:
    accuracy = validation.accuracy(learner, progress.step)
    progress.records[-1]["validation_accuracy"] = accuracy
    if accuracy > progress.best_accuracy:
        progress.best_accuracy, progress.best_step, progress.stale = accuracy, progress.step, 0
        return learner.processes.collect(trained_weights(learner.student))
    progress.stale += 1
    return best


def _send(progress: Progress, context: Context) -> None:
    """Sends the records that the tracker does not have yet. It is asked which those are: a killed process cannot say what it has sent."""
    sent = context.tracker.last_step(IN_EACH_RECORD)
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
