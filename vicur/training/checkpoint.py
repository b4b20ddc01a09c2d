"""Checkpoints: all that a training needs to resume exactly, as safetensors and JSON, never as pickles.

Tensors are stored in full, under the names of the model's parameters, so any number of processes can resume from any checkpoint. There is
no generator state, since random draws come from substreams of the root seed that are named by the step, and no scheduler state, since the
learning rate is a function of the step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor

from vicur.errors import VicurError
from vicur.modeling.disk import disk_errors
from vicur.storage.folders import file_sha256
from vicur.training.world import World
from vicur.wording import listed

CHECKSUMS = "checksums.json"
_STATE = "state.json"
_GROUPS = ("model", "best", "optimizer", "extra")
# A group that only some trainings have.
_PENDING = "pending"
_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)


@dataclass
class Progress:
    """The progress of a training, without tensors."""

    step: int  # number of steps made
    best_accuracy: float  # on the validation questions
    best_step: int  # number of steps made when it was reached
    stale: int  # number of validations since then
    records: list[dict[str, Any]]  # metrics of each step, preceded by those of the validation before step 1
    validation_batch: int | None = None  # questions that a process answers at once, chosen before step 1


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training after a step."""

    progress: Progress
    identity: Mapping[str, Any]  # settings, inputs, seed and code: vicur.stage.runner.stage_identity
    model: Mapping[str, Tensor]  # the trained weights by name
    best: Mapping[str, Tensor]  # those with the best validation accuracy
    optimizer: Mapping[str, Tensor]  # AdamW's state, as <weight>.<moment>
    extra: Mapping[str, Tensor] = field(default_factory=dict)  # other tensors that change, such as a moving average
    pending: Mapping[str, Tensor] = field(default_factory=dict)  # rollouts sampled ahead (vicur.training.one_step_off)


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the trained parameters by name, tied ones once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def restore(saved: Mapping[str, Tensor], tensors: Mapping[str, Tensor], world: World) -> None:
    """Copy rank 0's saved tensors, as returned by :meth:`~vicur.training.world.World.collect`, into the tensors of all ranks.

    Raises:
        VicurError: if names or shapes differ. No tensor is changed then.
    """
    if world.is_main:
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        wrong = sorted(
            shapes.keys() ^ saved.keys() | {n for n in shapes.keys() & saved.keys() if shapes[n] != saved[n].shape}
        )
        if wrong:
            raise VicurError(
                f"the weights of the checkpoint are not those that this training trains ({listed(wrong, shown=3)}).",
                where="checkpoint",
                remedy="Train the same parts of the same model, or start a new training.",
            )
    world.distribute(saved, tensors)


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer, world: World) -> dict[str, Tensor]:
    """Return the optimizer's state by weight, on rank 0. Learning rate and the like come from the configuration instead."""
    state: Any = get_optimizer_state_dict(model, optimizer, options=_FULL).get("state", {})
    moments = {f"{name}.{moment}": value for name, of in state.items() for moment, value in of.items()}
    # Clones, since on a CPU the state dict shares memory with the optimizer.
    return {key: value.clone() for key, value in moments.items()} if world.is_main else {}


def missing_state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of the moments that AdamW's first update will make in this process; 0 after it."""
    weights = [each for group in optimizer.param_groups for each in group["params"] if each not in optimizer.state]
    return sum(2 * (each.to_local() if isinstance(each, DTensor) else each).nbytes for each in weights)


def restore_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor], world: World
) -> None:
    """Restore rank 0's state from :func:`optimizer_state` on all ranks."""
    # Weights' names contain dots, moments' names do not.
    moments: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name, _, moment = key.rpartition(".")
        moments.setdefault(name, {})[moment] = value
    groups = get_optimizer_state_dict(model, optimizer, options=_FULL).get("param_groups", [])
    content: Any = {"state": moments, "param_groups": groups} if world.is_main else {}
    options = StateDictOptions(full_state_dict=True, cpu_offload=world.size == 1, broadcast_from_rank0=world.size > 1)
    set_optimizer_state_dict(model, optimizer, content, options=options)


def write_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the files of a checkpoint to ``folder``.

    Raises:
        OSError: if the disk is full or the folder is read-only.
    """
    for group in (*_GROUPS, _PENDING) if checkpoint.pending else _GROUPS:
        with disk_errors(folder):
            save_file(dict(getattr(checkpoint, group)), folder / f"{group}.safetensors")
    state = {"progress": asdict(checkpoint.progress), "identity": checkpoint.identity}
    (folder / _STATE).write_text(json.dumps(state), encoding="utf-8")
    # Last: a folder without checksums is incomplete.
    sums = {file.name: file_sha256(file) for file in sorted(folder.iterdir())}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1), encoding="utf-8")


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the checkpoint in ``folder``. Returns ``None`` if a file is missing or damaged."""
    if not _is_intact(folder):
        return None
    state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    files = {group: folder / f"{group}.safetensors" for group in (*_GROUPS, _PENDING)}
    groups = {group: load_file(file) for group, file in files.items() if group in _GROUPS or file.is_file()}
    return Checkpoint(Progress(**state["progress"]), state["identity"], **groups)


def _is_intact(folder: Path) -> bool:
    files = {f"{group}.safetensors" for group in _GROUPS} | {_STATE}
    try:
        sums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        return set(sums) - {f"{_PENDING}.safetensors"} == files and all(
            file_sha256(folder / name) == value for name, value in sums.items()
        )
    except (OSError, ValueError, AttributeError):
        return False
