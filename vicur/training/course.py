"""What each process of a training does: load, learn, and, in process 0, write the student."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.training import TrainConfig
from vicur.cues import read_cues
from vicur.cues.swap import swapped_cues
from vicur.data import read_examples
from vicur.errors import VicurError
from vicur.modeling import parameter_count, read_config, save_model
from vicur.modeling.chat import Chat
from vicur.seeds import numpy_generator
from vicur.stage.runner import Context, Summary
from vicur.storage.folders import tree_sha256
from vicur.training.checkpoint import restore, trained_weights
from vicur.training.checkpoint_store import CheckpointStore
from vicur.training.examples import PixelStore, TrainingExample, training_examples
from vicur.training.parallel import FsdpModel
from vicur.training.state import TrainState, build_learner, new_student
from vicur.training.trainer import Validation, fit, write_metrics
from vicur.training.workers.same_work import require_same_work
from vicur.training.world import World

log = logging.getLogger(__name__)

_SHOWN = 3


class TrainSummary(Summary):
    """What came of a training."""

    method: str
    """Method that the student was trained with."""
    steps: int
    """Updates made."""
    best_step: int
    """Updates after which validation accuracy was best: the weights that were kept."""
    validation_accuracy: float
    """Best validation accuracy."""
    base_validation_accuracy: float
    """Validation accuracy before the first update."""
    skipped: dict[str, str]
    """Why a distillation example was not used, by id."""


def take_part(
    config: TrainConfig,
    inputs: Mapping[str, Path],
    output: Path,
    context: Context,
    processes: World,
    stop: Path | None = None,
) -> TrainSummary | None:
    """Trains one student, as one of ``processes``.

    Args:
        config: method and settings.
        inputs: what the training stage reads.
        output: folder for the student, which process 0 writes.
        context: run, seed, tracker and the work folder.
        processes: this process among the others.
        stop: file that asks the training to stop when it appears.

    Returns:
        What came of it, in process 0.

    Raises:
        VicurError: for a base, a teacher, a dataset or cues that cannot be trained with.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    require_same_work(config, inputs, context.seed, processes)
    chat = Chat.load(inputs["base"])
    pool, cues = read_examples(inputs["dataset"], "distill"), read_cues(inputs["cues"])
    if config.cue_of == "another":
        cues = swapped_cues(pool, cues, context.seed)
    examples, skipped = training_examples(pool, cues, chat, config)
    if processes.count > 1:
        _require_images(examples)
    validation = _validation(inputs["dataset"], chat, config, context.seed)
    if config.rollout.elsewhere:
        _require_room(validation, config)
    store = CheckpointStore.of(context, config.keep_checkpoints)
    learner = build_learner(config, inputs, chat, context.seed, processes, context.work)
    try:
        progress, best = fit(learner, examples, validation, store, context, stop)
    finally:
        learner.close()
    if not processes.is_main:
        return None
    student = finished_student(learner, best, inputs["base"])
    record = {
        "method": config.method,
        **config.effective.model_dump(mode="json"),
        "parent": tree_sha256(inputs["base"]),
        "dataset": tree_sha256(inputs["dataset"]),
        "cues": tree_sha256(inputs["cues"]),
        "seed": context.seed,
        "training": config.filled_in().model_dump(mode="json"),
        "processes": processes.count,
        "steps": progress.step,
        "best_step": progress.best_step,
        "validation_accuracy": progress.best_accuracy,
        "forked_from": context.fork_from,
        "mlflow_run_id": context.tracker.run_id,
    }
    save_model(student, output, chat_folder=inputs["base"], record=record)
    write_metrics(progress, output / "metrics.jsonl")
    before, parameters = progress.records[0]["validation_accuracy"], parameter_count(student)
    return TrainSummary(
        key_figure=f"validation accuracy {before:.3f} -> {progress.best_accuracy:.3f} (step {progress.best_step} of {progress.step})",
        metrics={
            "best_validation_accuracy": progress.best_accuracy,
            "best_step": float(progress.best_step),
            "parameters": float(parameters.total),
            "parameters_cue_recovery": float(parameters.cue_recovery),
            "skipped_examples": float(len(skipped)),
        },
        method=config.method,
        steps=progress.step,
        best_step=progress.best_step,
        validation_accuracy=progress.best_accuracy,
        base_validation_accuracy=before,
        skipped=skipped,
    )


def finished_student(learner: TrainState, best: Mapping[str, Tensor], base: Path) -> Qwen3VLForConditionalGeneration:
    """The student as it is saved, in process 0: with its best weights, low-rank updates merged. It learns no more.

    Args:
        learner: the student that was trained.
        best: weights from :meth:`~vicur.training.world.World.collect`.
        base: what it started from. A sharded student is put together anew, from there and the weights.
    """
    student, adapters = learner.student, learner.adapters
    if isinstance(learner.spread, FsdpModel):
        student, adapters = new_student(learner.config, base, learner.chat, learner.seed, torch.device("cpu"))
    alone = World.alone(str(student.device))
    restore(best, trained_weights(student), alone)
    if adapters is not None:
        # In bfloat16, a weight would take none of an update that is small beside it.
        nn.Module.to(student, "cpu", torch.float32)
        adapters.merge()
    if learner.config.mixed_precision == "bf16":
        # It was validated in bfloat16, whatever it is kept in: a base in float32 stays that.
        nn.Module.to(student, read_config(base).dtype or torch.float32)
    return student


def _require_images(examples: Sequence[TrainingExample]) -> None:
    """Several processes wait for each other's gradients of all weights, those that only an image moves among them.

    Raises:
        VicurError: where an example has no image.
    """
    without = [row.example.id for row in examples if not row.student.pixels]
    if without:
        shown = ", ".join(without[:_SHOWN]) + (", ..." if len(without) > _SHOWN else "")
        raise VicurError(
            f"{len(without)} distillation examples have no image ({shown}), and each process needs one in each batch.",
            where="training.distribution.processes",
            remedy="Train in one process, or leave these examples out.",
        )


def _require_room(validation: Validation, config: TrainConfig) -> None:
    """An engine of its own makes room for prompts of a known length; those of the training are held to it already.

    Raises:
        VicurError: where a validation prompt is longer.
    """
    longest = max(len(prompt.ids) for prompt in validation.prompts)
    if longest > config.max_prompt_tokens:
        raise VicurError(
            f"a validation prompt has {longest} tokens, and the rollout engine has room for {config.max_prompt_tokens}.",
            where="training.max_prompt_tokens",
            remedy=f"Raise it to {longest}.",
        )


def _validation(dataset: Path, chat: Chat, config: TrainConfig, seed: int) -> Validation:
    """Validation questions, a drawn part of them where there are more than are asked for.

    Raises:
        VicurError: where there are none.
    """
    examples = read_examples(dataset, "validation")
    if not examples:
        raise VicurError(
            "has no validation examples.",
            where=str(dataset),
            remedy="Give some rows the split 'validation': the best weights are chosen by them.",
        )
    if len(examples) > config.validation_examples:
        picks = numpy_generator(seed, "data", "validation").permutation(len(examples))[: config.validation_examples]
        examples = [examples[n] for n in sorted(picks)]
    images = PixelStore(chat)
    return Validation(examples, [chat.prompt(e.question, images.of(e)) for e in examples])
