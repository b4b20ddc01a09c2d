"""Checkpoints of a training in progress: whole or absent, and checked before they are trusted.

A checkpoint is a folder ``step-000040`` of safetensors and JSON. It is written beside its place and renamed; ``checksums.json`` says
what must be in it, so that one that the disk has damaged is passed over with a warning. Nothing is pickled.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vicur.storage import file_sha256, new_folder

log = logging.getLogger(__name__)

_MODEL, _OPTIMIZER, _BEST, _STATE, _SUMS = (
    "model.safetensors",
    "optimizer.safetensors",
    "best.safetensors",
    "state.json",
    "checksums.json",
)


@dataclass
class Progress:
    """How far a training is, apart from its tensors.

    Attributes:
        step: updates made.
        best_accuracy: best validation accuracy so far.
        best_step: updates made when it was reached.
        stale: validations since.
        records: one record of metrics a step, and one a validation, in order.
    """

    step: int
    best_accuracy: float
    best_step: int
    stale: int
    records: list[dict[str, Any]]


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of a model's parameters, tied ones once, by name."""
    return {name: parameter.detach().cpu().clone().contiguous() for name, parameter in model.named_parameters()}


def restore_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Puts weights from :func:`trained_weights` back, in place."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
    progress: Progress,
    keep: int,
) -> None:
    """Writes checkpoint ``progress.step`` below ``folder`` and removes all but the newest ``keep``."""
    with new_folder(folder / f"step-{progress.step:06d}") as made:
        save_file(trained_weights(model), made / _MODEL)
        save_file(best, made / _BEST)
        save_file(_optimizer_tensors(optimizer), made / _OPTIMIZER)
        (made / _STATE).write_text(json.dumps(vars(progress)), encoding="utf-8")
        sums = {name: file_sha256(made / name) for name in (_MODEL, _BEST, _OPTIMIZER, _STATE)}
        (made / _SUMS).write_text(json.dumps(sums), encoding="utf-8")
    for old in _checkpoints(folder)[keep:]:
        shutil.rmtree(old)


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]] | None:
    """Restores the newest whole checkpoint below ``folder`` into ``model`` and ``optimizer``.

    Returns:
        The progress and the best weights so far; ``None`` where there is no whole checkpoint.
    """
    for path in _checkpoints(folder):
        if not _is_whole(path):
            log.warning("%s is damaged: the checkpoint before it is used", path)
            continue
        restore_weights(model, load_file(path / _MODEL))
        _restore_optimizer(optimizer, load_file(path / _OPTIMIZER))
        return Progress(**json.loads((path / _STATE).read_text(encoding="utf-8"))), load_file(path / _BEST)
    return None


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _is_whole(path: Path) -> bool:
    try:
        sums = json.loads((path / _SUMS).read_text(encoding="utf-8"))
        return set(sums) == {_MODEL, _BEST, _OPTIMIZER, _STATE} and all(
            file_sha256(path / n) == s for n, s in sums.items()
        )
    except (OSError, ValueError, AttributeError):
        return False


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of AdamW as flat tensors ``<parameter number>.<name>``; its settings come from the configuration."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": value.cpu().clone() for number, values in state.items() for name, value in values.items()
    }


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
