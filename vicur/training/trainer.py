"""The training loop: steps, validation, the best weights, checkpoints, early stopping and resuming.

All random draws come from substreams of the root seed that are named by the step. There is no generator state to save, and a resumed
training makes the same updates, bit for bit, as an uninterrupted one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vicur.answers import is_correct
from vicur.config.evaluation import MAX_PROMPT_TOKENS
from vicur.config.sampling import Sampling
from vicur.config.training import VALIDATION_BATCH, TrainConfig
from vicur.data.schema import Example
from vicur.data.stored import StoredSplit
from vicur.errors import VicurError
from vicur.modeling.ahead import DecodeAhead, example_pixels
from vicur.modeling.chat import Chat, Prompt
from vicur.modeling.generation import generation_order
from vicur.modeling.prompt_lengths import described, fitting, require_few_too_long
from vicur.processes.signals import StopFlag, stop_error
from vicur.seeds import numpy_generator
from vicur.stage.runner import Context
from vicur.training.batches import Batches
from vicur.training.checkpoint import (
    Checkpoint,
    Progress,
    missing_state_bytes,
    optimizer_state,
    restore,
    restore_optimizer,
    trained_weights,
)
from vicur.training.checkpoint_store import CheckpointStore
from vicur.training.checkpoint_writer import CheckpointWriter
from vicur.training.diagnostics import epoch_leakage
from vicur.training.examples import TrainingExample, TrainingExamples
from vicur.training.health import require_healthy
from vicur.training.metrics import IN_EVERY_RECORD
from vicur.training.one_step_off import OneStepOff, one_step_off
from vicur.training.order import BatchOrder
from vicur.training.state import TrainState
from vicur.training.step import training_step
from vicur.training.world import World

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Validation:
    """The validation questions with their prompts."""

    examples: Sequence[Example]
    prompts: Sequence[Prompt]
    ahead: DecodeAhead | None = None  # decodes the images of the next questions
    unanswered: int = 0  # questions with too long a prompt: they get no response, and count as answered incorrectly

    @classmethod
    def load(
        cls,
        dataset: Path,
        chat: Chat,
        config: TrainConfig,
        seed: int,
        ahead: DecodeAhead | None = None,
        *,
        context_length: int | None = None,
    ) -> Validation:
        """Read the validation questions: a random sample if there are more than ``validation_examples``.

        Args:
            context_length: tokens in the longest sequence of the model.

        Raises:
            VicurError: if there are none, or more than ``max_unhinted_share`` of them have too long a prompt.
        """
        examples: Sequence[Example] = StoredSplit(dataset, "validation")
        if not examples:
            raise VicurError(
                "the dataset has no validation examples.",
                where=str(dataset),
                remedy="Give some rows the split 'validation': training keeps the weights with the best validation accuracy.",
            )
        if len(examples) > config.validation_examples:
            picks = numpy_generator(seed, "data", "validation").permutation(len(examples))[: config.validation_examples]
            examples = [examples[n] for n in sorted(picks)]
        examples = list(examples)
        prompts = [chat.prompt(chat.content(e), example_pixels(chat, e, "student", ahead)) for e in examples]
        limit = _validation_limit(config, context_length)
        lengths = {e.id: len(p.ids) for e, p in zip(examples, prompts, strict=True) if len(p.ids) > limit}
        require_few_too_long(
            lengths,
            len(examples),
            limit,
            config.max_unhinted_share,
            where=f"{dataset}, split validation",
            settings="training.max_prompt_tokens (up to the model's context) or training.max_unhinted_share",
        )
        if lengths:
            log.warning(
                "Validation questions, unanswered: prompt too long (%d of %d, more than %d tokens: %s). They count as incorrect.",
                len(lengths),
                len(examples),
                limit,
                described(lengths),
            )
        asked = fitting(prompts, limit)
        return cls([examples[n] for n in asked], [prompts[n] for n in asked], ahead, len(lengths))

    def fitting_batch(self, state: TrainState) -> int:
        """Return how many questions each process answers at once: as many as its free memory holds beside the optimizer's state.

        Chosen once for a training: float rounding depends on the batch, and with it the best step may.
        """
        config, world = state.config, state.world
        state.engine.update(0)
        own = world.shard(self.prompts)
        most = config.rollout_batch_size or VALIDATION_BATCH
        return min(
            world.gather(state.engine.fitting_batch(own, _sampling(config), most, missing_state_bytes(state.optimizer)))
        )

    def accuracy(
        self,
        state: TrainState,
        step: int = 0,
        batch_size: int | None = None,
        on_smaller_batch: Callable[[int], None] | None = None,
    ) -> float:
        """Return the greedy accuracy of the student after ``step`` updates. Each rank answers its share of the questions.

        Args:
            batch_size: questions that each process answers at once; :meth:`fitting_batch` by default.
            on_smaller_batch: called with the new number whenever the memory of this process runs out.
        """
        world = state.world
        batch_size = self.fitting_batch(state) if batch_size is None else batch_size
        state.engine.update(step)
        prompts = world.shard(self.prompts)
        if self.ahead is not None:
            images = [image for n in generation_order(prompts) for image in prompts[n].pixels]
            self.ahead.drop_before(step)
            self.ahead.expect(step, [image for image in images if not state.vision.has(image)])
        responses = state.engine.generate(
            prompts,
            _sampling(state.config),
            seed=state.seed,
            batch_size=batch_size,
            encode=state.vision.frozen_encoder,
            on_smaller_batch=on_smaller_batch,
        )
        pairs = zip(responses, world.shard(self.examples), strict=True)
        correct = world.gather(sum(is_correct(response.text, example) for response, example in pairs))
        return sum(correct) / (len(self.examples) + self.unanswered)


def _sampling(config: TrainConfig) -> Sampling:
    return Sampling(temperature=0, max_new_tokens=config.rollout.max_new_tokens)


def _validation_limit(config: TrainConfig, context_length: int | None) -> int:
    if config.rollout.is_external:
        # vLLM has a fixed context length, made for training prompts.
        return config.max_prompt_tokens
    limit = max(config.max_prompt_tokens, MAX_PROMPT_TOKENS)
    return limit if context_length is None else min(limit, context_length)


def fit(
    state: TrainState,
    examples: TrainingExamples,
    validation: Validation,
    store: CheckpointStore,
    context: Context,
    stop: Path | None = None,
) -> tuple[Progress, dict[str, Tensor]]:
    """Train the student, starting from the newest checkpoint if there is one.

    SIGTERM stops the training after the current step, as does the file ``stop`` once it exists.

    Returns:
        The progress, and on rank 0 the weights to save: the best or the last.

    Raises:
        VicurError: if the loss is not finite, the checkpoints belong to another training, or the training was stopped.
    """
    config, world = state.config, state.world
    order = BatchOrder(examples.groups, config.batch_size, state.seed)
    with (
        StopFlag(stop) as stop_flag,
        CheckpointWriter(store.save, config.checkpoint_minutes) as writer,
        Batches(examples, order, world, config.steps, state.vision.has, config.staleness) as batches,
        one_step_off(state, batches.of) as ahead,
    ):
        progress, best = _resume_or_start(state, validation, store, context, ahead)
        while progress.step < config.steps and progress.stale < config.patience:
            rows = batches.of(progress.step) if ahead is None else ahead.rows(progress.step)
            progress.records.append({"step": progress.step + 1, **_step(state, rows, progress.step, ahead)})
            progress.step += 1
            progress.records[-1] |= epoch_leakage(progress.records, progress.step, config.batch_size, len(examples))
            last = progress.step == config.steps
            if last or progress.step % config.validate_every == 0:
                with _divergence(config, progress.step):
                    best = _validate(state, validation, progress, best)
                last = last or progress.stale >= config.patience
            stopping, due = _agree(world, stopping=stop_flag.is_set, due=writer.is_due)
            if last or stopping or due or progress.step % config.checkpoint_every == 0:
                with _divergence(config, progress.step):
                    require_healthy(state, rows)
                _save(state, best, progress, store, writer, ahead)
            if last or stopping:
                writer.wait()
            # Only steps that a checkpoint covers are logged: a killed training repeats the others, which would appear twice.
            context.tracker.steps(progress.records[: writer.last_step() + 1], IN_EVERY_RECORD)
            context.events.progress(progress.step, config.steps, _progress_line(progress))
            if stopping and not last:
                raise stop_error(
                    f"stopped after SIGTERM at step {progress.step} of {config.steps}, with a checkpoint of that step."
                )
    return progress, best if config.keep == "best" else world.collect(trained_weights(state.student))


def _step(state: TrainState, rows: Sequence[TrainingExample], step: int, ahead: OneStepOff | None) -> dict[str, float]:
    with _divergence(state.config, step + 1):
        return training_step(state, rows, step, ahead)


@contextmanager
def _divergence(config: TrainConfig, step: int) -> Iterator[None]:
    """Report values that are not finite as the divergence of a training at ``step``, counted from 1."""
    try:
        yield
    except FloatingPointError as error:
        raise VicurError(
            f"the training diverged at step {step}: {str(error.args[0]).rstrip('.')}.",
            where=f"training, method {config.method}",
            remedy="Lower training.learning_rate or the objective's clamp. The last checkpoint is from before this step.",
        ) from error


def _resume_or_start(
    state: TrainState, validation: Validation, store: CheckpointStore, context: Context, ahead: OneStepOff | None
) -> tuple[Progress, dict[str, Tensor]]:
    world, student = state.world, state.student
    # Other machines may not see rank 0's folder.
    checkpoint = store.newest() if world.is_main else None
    progress = world.broadcast(None if checkpoint is None else checkpoint.progress)
    if progress is None:
        accuracy, batch = _accuracy(state, validation, 0, validation.fitting_batch(state))
        progress = Progress(0, accuracy, 0, 0, [{"step": 0, "validation_accuracy": accuracy}], batch)
        return progress, world.collect(trained_weights(student))
    restore({} if checkpoint is None else checkpoint.model, trained_weights(student), world)
    restore_optimizer(student, state.optimizer, {} if checkpoint is None else checkpoint.optimizer, world)
    restore({} if checkpoint is None else checkpoint.extra, state.extra_state(), world)
    if ahead is not None:
        ahead.restore({} if checkpoint is None else checkpoint.pending)
    log.info("resuming at step %d", progress.step)
    context.tracker.steps(progress.records, IN_EVERY_RECORD)
    return progress, {} if checkpoint is None else dict(checkpoint.best)


def _agree(world: World, *, stopping: bool, due: bool) -> tuple[bool, bool]:
    """Return whether any rank is to stop, and whether rank 0 wants a checkpoint."""
    # Ranks receive a signal at different times, and their clocks differ. One collective a step serves both.
    answers = world.gather((stopping, due))
    return any(stop for stop, _ in answers), answers[0][1]


def _save(
    state: TrainState,
    best: dict[str, Tensor],
    progress: Progress,
    store: CheckpointStore,
    writer: CheckpointWriter,
    ahead: OneStepOff | None,
) -> None:
    world = state.world

    def take() -> Checkpoint:
        return Checkpoint(
            # A copy, like all tensors: the training continues while this is written. Records of earlier steps do not change.
            progress=replace(progress, records=list(progress.records)),
            identity=store.identity,
            model=world.collect(trained_weights(state.student)),
            best=best,
            optimizer=optimizer_state(state.student, state.optimizer, world),
            extra=world.collect(state.extra_state()),
            pending={} if ahead is None else ahead.state(),
        )

    # All ranks take part in collecting sharded tensors; rank 0 writes.
    if world.is_main:
        writer.write(take)
    else:
        take()


def _validate(
    state: TrainState, validation: Validation, progress: Progress, best: dict[str, Tensor]
) -> dict[str, Tensor]:
    batch = progress.validation_batch or validation.fitting_batch(state)
    accuracy, progress.validation_batch = _accuracy(state, validation, progress.step, batch)
    progress.records[-1]["validation_accuracy"] = accuracy
    if accuracy > progress.best_accuracy:
        progress.best_accuracy, progress.best_step, progress.stale = accuracy, progress.step, 0
        return state.world.collect(trained_weights(state.student))
    progress.stale += 1
    return best


def _accuracy(state: TrainState, validation: Validation, step: int, batch: int) -> tuple[float, int]:
    """Return the validation accuracy, and the batch that all processes had memory for: later validations keep to it."""
    sizes = [batch]
    accuracy = validation.accuracy(state, step, batch, sizes.append)
    return accuracy, min(state.world.gather(min(sizes)))


def write_metrics(progress: Progress, path: Path) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in progress.records), encoding="utf-8")


def _progress_line(progress: Progress) -> str:
    newest: dict[str, Any] = progress.records[-1]
    parts = [f"validation {progress.best_accuracy:.3f} (step {progress.best_step})", f"loss {newest['loss']:.3f}"]
    if "rollout_accuracy" in newest:
        parts.append(f"rollouts {newest['rollout_accuracy']:.2f}")
    if "gap/whole" in newest:
        parts.append(f"gap {newest['gap/whole']:+.2f}")
    return ", ".join(parts)
