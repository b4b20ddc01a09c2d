"""The training stage: one student by one method. All methods run through one loop.

What follows the paper (arXiv 2606.05718): rollouts of the student, the frozen initial model as teacher with the hint in its prompt, k1
advantages clamped to [-10, 10], mean over a response's tokens. What differs: the weights with the best validation accuracy are kept,
training stops early when validation no longer improves, and the cue recovery module starts as the identity.

To read the algorithm from here: ``trainer.py`` (the loop), ``step.py``, ``responses.py``, ``batch.py`` (their loss) and ``objectives/``.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vicur.config.training import MASTERS, TrainConfig
from vicur.cues import read_cues
from vicur.cues.swap import swapped_cues
from vicur.data import read_manifest
from vicur.data.stored import StoredSplit
from vicur.errors import VicurError
from vicur.modeling import parameter_count, save_model
from vicur.modeling.ahead import AHEAD_BYTES, DecodeAhead
from vicur.modeling.chat import Chat
from vicur.modeling.device import resolve_device
from vicur.modeling.readability import check_readable, check_spelling, context_length
from vicur.processes.machines import Machines
from vicur.stage.environment import Environment
from vicur.stage.runner import Context, Stage, Summary
from vicur.storage.folders import tree_sha256
from vicur.training.checkpoint import Progress
from vicur.training.checkpoint_store import CheckpointStore
from vicur.training.examples import TrainingExamples
from vicur.training.preflight import require_fit
from vicur.training.rollout.build import require_engine
from vicur.training.rollout.placed import local_devices, placed_servers
from vicur.training.saving import changed_share
from vicur.training.selection import FILE as SELECTION
from vicur.training.selection import Selection, select
from vicur.training.state import build_state, final_student
from vicur.training.trainer import Validation, fit, write_metrics
from vicur.training.workers.launch import assist, launch, require_same_work
from vicur.training.world import World, devices_for, local_process_count
from vicur.wording import listed

log = logging.getLogger(__name__)


class TrainSummary(Summary):
    """The result of a training."""

    method: str
    """Method of the training."""
    steps: int
    """Number of steps made."""
    best_step: int
    """Step with the best validation accuracy, whose weights were kept."""
    validation_accuracy: float
    """Best validation accuracy."""
    base_validation_accuracy: float
    """Validation accuracy before the first update."""
    skipped: dict[str, str]
    """Reason why a distillation example was not used, by id."""


def train(config: TrainConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> TrainSummary:
    """Train one student and write it to ``output``: a checkpoint, ``vicur.json`` and ``metrics.jsonl``.

    Args:
        inputs: ``dataset``, ``cues``, ``base`` (a Qwen3-VL checkpoint with its tokenizer and image processor), and ``teacher`` if that
            is another checkpoint.

    Raises:
        VicurError: if the settings do not fit base, teacher, dataset, cues or this machine. Most of this is checked before any weights are
            loaded.
    """
    device, machines, processes = _prepare(config, inputs)
    log.info("%s: %s", config.method, config.description)
    if config.staleness and not config.rollout.on_servers:
        log.warning(
            "training.staleness is 1, but rollouts are sampled in the training's own processes, one after the other with the updates: this "
            "saves no time. Servers (training.rollout.placement job or url) sample during the updates."
        )
    context.tracker.params({**config.filled_in().model_dump(mode="json"), "seed": context.seed})
    with placed_servers(config, inputs, context.work, device):
        if processes * machines.count > 1:
            # The workers, which torchrun starts, each call train_rank.
            return TrainSummary.model_validate(launch(config, inputs, output, context, processes, device, machines))
        devices = devices_for(0, config.distribution, device, local_devices(config))
        summary = train_rank(config, inputs, output, context, World(*devices))
    assert summary is not None
    return summary


def assist_training(config: TrainConfig, inputs: Mapping[str, Path], seed: int) -> None:
    """Take part in a training of several machines, on one that is not machine 0. This machine writes no output."""
    device, machines, processes = _prepare(config, inputs)
    assist(config, inputs, seed, processes, device, machines)


def _prepare(config: TrainConfig, inputs: Mapping[str, Path]) -> tuple[str, Machines, int]:
    """Return the device, the machines, and the number of processes on this one, after checking the settings against them."""
    # Everything that needs no weights is checked here, before minutes are spent on loading some.
    device, machines = resolve_device(config.device, "training.device"), Machines.from_environment()
    processes = local_process_count(config.distribution, device, local_devices(config))
    require_equal_shares(config, processes * machines.count)
    require_engine(config, processes)
    chat = Chat.load(inputs["base"], config.prompts)
    _require_readable(chat, config, inputs)
    require_fit(config, inputs, chat)
    return device, machines, processes


def _require_readable(chat: Chat, config: TrainConfig, inputs: Mapping[str, Path]) -> None:
    available = read_manifest(inputs["dataset"]).examples
    splits = [split for split in ("distill", "validation") if available.get(split)]
    # Longer prompts are skipped one by one, and so are validation questions with longer ones.
    check_readable(chat, inputs["dataset"], splits, inputs["base"])
    if config.effective.privilege == "cue":
        check_spelling(chat, {"cues": read_cues(inputs["cues"]).values()}, inputs["base"], str(inputs["cues"]))


def require_equal_shares(config: TrainConfig, processes: int) -> None:
    """Raise a ``VicurError`` unless all processes can take the same number of prompts."""
    # Each forward of a sharded model is a collective, so all processes must make the same number of them.
    if config.batch_size % processes:
        raise VicurError(
            f"a batch of {config.batch_size} prompts cannot be divided equally among {processes} processes.",
            where="training.batch_size",
            remedy=f"Choose a multiple of {processes}, or another number of processes.",
        )


def train_rank(
    config: TrainConfig,
    inputs: Mapping[str, Path],
    output: Path,
    context: Context,
    world: World,
    stop: Path | None = None,
) -> TrainSummary | None:
    """Train one student, as one of the processes of ``world``. Rank 0 writes the student and returns the summary.

    The training stops once the file ``stop`` exists.
    """
    try:
        return _train_rank(config, inputs, output, context, world, stop)
    except torch.OutOfMemoryError as error:
        # Not retryable, and with the exit status of a wrong setting, so that no TrainJob is repeated either: each attempt would load all
        # models and then need as much memory again.
        raise VicurError(
            f"the GPU ran out of memory ({str(error).partition('. ')[0]}).",
            where=f"training, method {config.method}",
            remedy="Run vicur plan, which says which settings need less memory. With these changed, the training starts anew.",
        ) from error


def _train_rank(
    config: TrainConfig,
    inputs: Mapping[str, Path],
    output: Path,
    context: Context,
    world: World,
    stop: Path | None,
) -> TrainSummary | None:
    if config.threads:
        torch.set_num_threads(config.threads)
    require_same_work(config, inputs, context.seed, world)
    chat = Chat.load(inputs["base"], config.prompts)
    with (
        DecodeAhead(chat, config.image_threads) as images,
        DecodeAhead(chat, config.image_threads, AHEAD_BYTES // 2) as validation_images,
    ):
        examples, skipped = _examples(config, inputs, chat, context, world, images)
        validation = Validation.load(
            inputs["dataset"],
            chat,
            config,
            context.seed,
            validation_images,
            context_length=context_length(inputs["base"]),
        )
        store = CheckpointStore.from_context(context, config.keep_checkpoints)
        state = build_state(config, inputs, chat, context.seed, world, context.work)
        try:
            progress, weights = fit(state, examples, validation, store, context, stop)
        finally:
            state.close()
    if not world.is_main:
        return None
    record = _record(config, inputs, context, world, progress)
    save = partial(save_model, chat_folder=inputs["base"], record=record, end_id=chat.end_id)
    masters = context.work / MASTERS
    keep = partial(save, folder=masters) if config.save_masters else None
    student = final_student(state, weights, inputs["base"], with_masters=keep)
    save(student, output)
    if masters.is_dir():
        shutil.move(masters, output / MASTERS)
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
            "saved/changed_share": changed_share(student, inputs["base"]),
            **({"unanswered_validation_questions": float(validation.unanswered)} if validation.unanswered else {}),
        },
        method=config.method,
        steps=progress.step,
        best_step=progress.best_step,
        validation_accuracy=progress.best_accuracy,
        base_validation_accuracy=before,
        skipped=skipped,
    )


def _examples(
    config: TrainConfig, inputs: Mapping[str, Path], chat: Chat, context: Context, world: World, ahead: DecodeAhead
) -> tuple[TrainingExamples, dict[str, str]]:
    """Return the usable distillation examples, and the reason why each of the others is skipped, by id."""
    pool = StoredSplit(inputs["dataset"], "distill")
    cues = read_cues(inputs["cues"])
    if config.cue_of == "another":
        columns = pool.columns("id", "question")
        questions = zip(columns["id"].to_pylist(), columns["question"].to_pylist(), strict=True)
        cues = swapped_cues(questions, cues, context.seed)
    selection = select(
        pool,
        cues,
        chat,
        config,
        world=world,
        file=context.work / SELECTION,
        identity={"stage": context.identity, "config": config.identity()},
        on_progress=lambda done, total: context.events.progress(done, total, "distillation examples read"),
    )
    if world.size > 1:
        _require_images(selection)
    return TrainingExamples(pool, selection.usable, cues, chat, config, ahead), selection.skipped


def _record(
    config: TrainConfig, inputs: Mapping[str, Path], context: Context, world: World, progress: Progress
) -> dict[str, Any]:
    """Return the content of ``vicur.json``."""
    return {
        "method": config.method,
        **config.effective.model_dump(mode="json"),
        "parent": tree_sha256(inputs["base"]),
        "dataset": tree_sha256(inputs["dataset"]),
        "cues": tree_sha256(inputs["cues"]),
        "seed": context.seed,
        "training": config.filled_in().model_dump(mode="json"),
        "processes": world.size,
        "environment": _environment(config, context, world).model_dump(mode="json"),
        "steps": progress.step,
        "best_step": progress.best_step,
        "validation_accuracy": progress.best_accuracy,
        "forked_from": context.fork_from,
        "mlflow_run_id": context.tracker.run_id,
    }


def _environment(config: TrainConfig, context: Context, world: World) -> Environment:
    device = world.device
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {torch.backends.cpu.get_cpu_capability()}"
    )
    code = str(context.identity.get("code", ""))
    return Environment.here(code, name, world.size, config.threads or torch.get_num_threads())


def _require_images(selection: Selection) -> None:
    # DDP waits for gradients of all trained weights in every process. A share without images has none for the tower.
    if without := selection.without_images:
        raise VicurError(
            f"{len(without)} distillation examples have no image ({listed(without, shown=3)}), but with several processes each needs "
            "one in every batch.",
            where="training.distribution.processes",
            remedy="Set it to 1, or remove these examples from the split distill.",
        )


TRAIN = Stage("train", train, TrainSummary)
