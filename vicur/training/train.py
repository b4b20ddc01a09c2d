"""The training stage: one student by one method, all methods through one loop.

What follows the paper (arXiv 2606.05718): rollouts of the student, the frozen initial model as teacher with the hint in its prompt, k1
advantages clamped to [-10, 10], mean over a response's tokens. What differs: the best weights on the validation pool are kept, training
stops early when validation no longer improves, and the cue recovery module starts as the identity. What cannot be trained is refused
before any weights are loaded.

A training in one process takes place in the stage's own; one in several is handed to torchrun (``vicur.training.launch``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.modeling.chat import Chat
from vicur.processes.machines import Machines
from vicur.stage.runner import Context, Stage
from vicur.training.course import TrainSummary, take_part
from vicur.training.preflight import require_fit
from vicur.training.rollout.build import require_engine
from vicur.training.workers.launch import assist, launch
from vicur.training.world import World, devices_of, process_count

log = logging.getLogger(__name__)


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
    device, machines = device_of(config), Machines.from_environment()
    count = process_count(config.distribution, device)
    require_equal_shares(config, count * machines.count)
    require_engine(config, count * machines.count)
    require_fit(config, inputs, Chat.load(inputs["base"]))
    log.info("%s: %s", config.method, config.description)
    context.tracker.params({**config.filled_in().model_dump(mode="json"), "seed": context.seed})
    if count * machines.count > 1:
        return TrainSummary.model_validate(launch(config, inputs, output, context, count, device, machines))
    summary = take_part(config, inputs, output, context, World(*devices_of(0, config.distribution, device)))
    assert summary is not None
    return summary


def assist_training(config: TrainConfig, inputs: Mapping[str, Path], seed: int) -> None:
    """Takes part in a training of several machines, on one that is not the first. Nothing is written here.

    Args:
        config: as the first machine has it.
        inputs: as :func:`train` reads them, on this machine.
        seed: root seed.

    Raises:
        VicurError: as :func:`train` does.
    """
    device, machines = device_of(config), Machines.from_environment()
    count = process_count(config.distribution, device)
    require_equal_shares(config, count * machines.count)
    require_engine(config, count * machines.count)
    require_fit(config, inputs, Chat.load(inputs["base"]))
    assist(config, inputs, seed, count, device, machines)


def device_of(config: TrainConfig) -> str:
    """``cuda`` or ``cpu``.

    Raises:
        VicurError: where a GPU is asked for that is not there.
    """
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if config.device == "cuda" and not torch.cuda.is_available():
        raise VicurError(
            "there is no GPU here.", where="training.device", remedy="Use device: auto, or run on a node with a GPU."
        )
    return config.device


def require_equal_shares(config: TrainConfig, processes: int) -> None:
    """Each process takes the same number of prompts: it scores as many micro-batches as the others.

    Raises:
        VicurError: where the batch cannot be shared like that.
    """
    if config.batch_size % processes:
        raise VicurError(
            f"a batch of {config.batch_size} prompts cannot be shared equally by {processes} processes.",
            where="training.batch_size",
            remedy=f"Choose a multiple of {processes}, or another number of processes.",
        )


TRAIN = Stage("train", train, TrainSummary)
