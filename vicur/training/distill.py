"""The training stage: distils a student from the base's own privileged copy, on the student's own answers.

What follows the paper (arXiv 2606.05718): rollouts of the student, the frozen initial model as teacher with the hint in its prompt, k1
advantages clamped to [-10, 10], mean over a response's tokens. What differs: the best weights on the validation pool are kept, training
stops early when validation no longer improves, and the cue recovery module starts as the identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.training import TrainConfig, method_named
from vicur.cues import read_cues
from vicur.data import read_examples
from vicur.errors import VicurError
from vicur.modeling import load_model, parameter_count, save_model, with_cue_recovery
from vicur.modeling.chat import Chat
from vicur.seeds import numpy_generator
from vicur.stage import Context, Stage, Summary
from vicur.storage import tree_sha256
from vicur.training.checkpoint_store import CheckpointStore
from vicur.training.examples import PixelStore, training_examples
from vicur.training.features import FrozenFeatures
from vicur.training.step import Learner
from vicur.training.trainer import Validation, fit, write_metrics


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
        inputs: ``dataset``, ``cues`` and ``base`` (a Qwen3-VL checkpoint with its tokenizer and image processor).
        output: folder for the student: a checkpoint, ``vicur.json`` and ``metrics.jsonl``.
        context: run, seed, tracker and the work folder that checkpoints go to.

    Raises:
        VicurError: for a base, a dataset or cues that cannot be trained with.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    method = method_named(config.method)
    device = _device(config)
    chat = Chat.load(inputs["base"])
    teacher = load_model(inputs["base"], device=device).requires_grad_(requires_grad=False)
    student = _student(inputs["base"], teacher, chat, config, context.seed)
    examples, skipped = training_examples(
        read_examples(inputs["dataset"], "distill"), read_cues(inputs["cues"]), method, chat, config
    )
    validation = _validation(inputs["dataset"], chat, config, context.seed)
    context.tracker.params({**config.model_dump(mode="json"), **method.model_dump(), "seed": context.seed})

    trainable = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=config.learning_rate, weight_decay=config.weight_decay)
    learner = Learner(student, teacher, FrozenFeatures(teacher), chat, optimizer, config, context.seed)
    store = CheckpointStore.of(context, config.keep_checkpoints)
    progress = fit(learner, examples, validation, store, context)

    record = {
        "method": config.method,
        **method.model_dump(),
        "parent": tree_sha256(inputs["base"]),
        "dataset": tree_sha256(inputs["dataset"]),
        "cues": tree_sha256(inputs["cues"]),
        "seed": context.seed,
        "training": config.model_dump(mode="json"),
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


def _student(
    folder: Path, base: Qwen3VLForConditionalGeneration, chat: Chat, config: TrainConfig, seed: int
) -> Qwen3VLForConditionalGeneration:
    """The student at step 0: in what it computes, a copy of the base."""
    if method_named(config.method).recovery:
        student: Qwen3VLForConditionalGeneration = with_cue_recovery(
            base, config.recovery, seed, im_start_token_id=chat.start_id
        )
    else:
        student = load_model(folder, device=str(base.device))
    student.requires_grad_(requires_grad=True)
    student.model.visual.requires_grad_(requires_grad=config.train_vision)
    return student


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
