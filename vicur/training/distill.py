"""The training stage: one student by one method, all methods through one loop.

What follows the paper (arXiv 2606.05718): rollouts of the student, the frozen initial model as teacher with the hint in its prompt, k1
advantages clamped to [-10, 10], mean over a response's tokens. What differs: the best weights on the validation pool are kept, training
stops early when validation no longer improves, and the cue recovery module starts as the identity. What cannot be trained is refused
before any weights are loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from vicur.config.training import TrainConfig
from vicur.cues import read_cues
from vicur.cues.swap import swapped_cues
from vicur.data import read_examples
from vicur.errors import VicurError
from vicur.modeling import parameter_count, save_model
from vicur.modeling.chat import Chat
from vicur.seeds import numpy_generator
from vicur.stage import Context, Stage, Summary
from vicur.storage import tree_sha256
from vicur.training.checkpoint_store import CheckpointStore
from vicur.training.examples import PixelStore, training_examples
from vicur.training.learner import build_learner
from vicur.training.preflight import require_fit
from vicur.training.trainer import Validation, fit, write_metrics

log = logging.getLogger(__name__)


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


def train(config: TrainConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> TrainSummary:
    """Trains one student.

    Args:
        config: method and settings.
        inputs: ``dataset``, ``cues``, ``base`` (a Qwen3-VL checkpoint with its tokenizer and image processor), and ``teacher`` where
            that is another checkpoint.
        output: folder for the student: a checkpoint, ``vicur.json`` and ``metrics.jsonl``.
        context: run, seed, tracker and the work folder that checkpoints go to.

    Raises:
        VicurError: for a base, a teacher, a dataset or cues that cannot be trained with.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    device = _device(config)
    chat = Chat.load(inputs["base"])
    require_fit(config, inputs, chat)
    pool, cues = read_examples(inputs["dataset"], "distill"), read_cues(inputs["cues"])
    if config.cue_of == "another":
        cues = swapped_cues(pool, cues, context.seed)
    examples, skipped = training_examples(pool, cues, chat, config)
    validation = _validation(inputs["dataset"], chat, config, context.seed)
    settings = config.filled_in().model_dump(mode="json")
    log.info("%s: %s", config.method, config.description)
    context.tracker.params({**settings, "seed": context.seed})

    learner = build_learner(config, inputs, chat, context.seed, device, context.work)
    store = CheckpointStore.of(context, config.keep_checkpoints)
    progress = fit(learner, examples, validation, store, context)
    student = learner.finished_student()

    record = {
        "method": config.method,
        **config.effective.model_dump(mode="json"),
        "parent": tree_sha256(inputs["base"]),
        "dataset": tree_sha256(inputs["dataset"]),
        "cues": tree_sha256(inputs["cues"]),
        "seed": context.seed,
        "training": settings,
        "steps": progress.step,
        "best_step": progress.best_step,
        "validation_accuracy": progress.best_accuracy,
        "forked_from": context.fork_from,
        "mlflow_run_id": context.tracker.run_id,
    }
    save_model(student, output, chat_folder=inputs["base"], record=record)
    write_metrics(progress, output / "metrics.jsonl")
    before = progress.records[0]["validation_accuracy"]
    return TrainSummary(
        key_figure=f"validation accuracy {before:.3f} -> {progress.best_accuracy:.3f} (step {progress.best_step} of {progress.step})",
        metrics={
            "best_validation_accuracy": progress.best_accuracy,
            "best_step": float(progress.best_step),
            "parameters": float(parameter_count(student).total),
            "parameters_cue_recovery": float(parameter_count(student).cue_recovery),
            "skipped_examples": float(len(skipped)),
        },
        method=config.method,
        steps=progress.step,
        best_step=progress.best_step,
        validation_accuracy=progress.best_accuracy,
        base_validation_accuracy=before,
        skipped=skipped,
    )


def _device(config: TrainConfig) -> str:
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if config.device == "cuda" and not torch.cuda.is_available():
        raise VicurError(
            "there is no GPU here.", where="training.device", remedy="Use device: auto, or run on a node with a GPU."
        )
    return config.device


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


TRAIN = Stage("train", train, TrainSummary)
