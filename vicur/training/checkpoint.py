"""The checkpoint of a training: everything that it needs to go on as if it had never stopped, in safetensors and JSON.

Tensors stand under the names of the model's parameters, whole, however many processes share them: a checkpoint does not depend on how
many wrote it. There is no generator state to keep, since whatever is drawn is drawn from substreams of the root seed that are named by
the step, and no scheduler's, since the learning rate is a function of the step. Nothing is pickled.
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

from vicur.errors import VicurError
from vicur.modeling.disk import disk_errors
from vicur.storage.folders import file_sha256
from vicur.training.world import World

CHECKSUMS = "checksums.json"
_STATE = "state.json"
_GROUPS = ("model", "best", "optimizer", "extra")
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


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


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A training at one moment.

    Attributes:
        progress: how far it is.
        identity: what the training is: its settings, inputs, seed and code (``vicur.stage.stage_identity``).
        model: the trained weights by name.
        best: those that were best on validation.
        optimizer: AdamW's state, as ``<weight>.<moment>``.
        extra: other tensors that change as it trains (a moving average).
    """

    progress: Progress
    identity: Mapping[str, Any]
    model: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    extra: Mapping[str, Tensor] = field(default_factory=dict)


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained, tied ones once, by name."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def restore(kept: Mapping[str, Tensor], tensors: Mapping[str, Tensor], processes: World) -> None:
    """Puts kept tensors back, in place.

    Args:
        kept: what :meth:`~vicur.training.world.World.collect` gave; process 0 has it.
        tensors: those of the models, by name.
        processes: all that the models are spread over.

    Raises:
        VicurError: where they are not those that this training has.
    """
    if processes.is_main:
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        wrong = sorted(
            shapes.keys() ^ kept.keys() | {n for n in shapes.keys() & kept.keys() if shapes[n] != kept[n].shape}
        )
        if wrong:
            raise VicurError(
                f"holds other weights than those that are trained ({', '.join(wrong[:3])}{', ...' if len(wrong) > 3 else ''}).",
                where="checkpoint",
                remedy="Train the same parts of the same model, or start a new training.",
            )
    processes.hand_out(kept, tensors)


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer, processes: World) -> dict[str, Tensor]:
    """State of the optimizer by weight, in process 0; its settings come from the configuration."""
    state: Any = get_optimizer_state_dict(model, optimizer, options=_WHOLE).get("state", {})
    moments = {f"{name}.{moment}": value for name, of in state.items() for moment, value in of.items()}
    return {key: value.clone() for key, value in moments.items()} if processes.is_main else {}


def restore_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor], processes: World
) -> None:
    """Puts a state from :func:`optimizer_state` back, which process 0 has."""
    moments: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name, _, moment = key.rpartition(".")
        moments.setdefault(name, {})[moment] = value
    groups = get_optimizer_state_dict(model, optimizer, options=_WHOLE).get("param_groups", [])
    wanted: Any = {"state": moments, "param_groups": groups} if processes.is_main else {}
    options = StateDictOptions(
        full_state_dict=True, cpu_offload=processes.count == 1, broadcast_from_rank0=processes.count > 1
    )
    set_optimizer_state_dict(model, optimizer, wanted, options=options)


def write_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Writes the files of a checkpoint to ``folder``, the checksums of all others last.

    Raises:
        OSError: where the disk is full or the folder cannot be written.
    """
    for group in _GROUPS:
        with disk_errors(folder):
            save_file(dict(getattr(checkpoint, group)), folder / f"{group}.safetensors")
    state = {"progress": asdict(checkpoint.progress), "identity": checkpoint.identity}
    (folder / _STATE).write_text(json.dumps(state), encoding="utf-8")
    sums = {file.name: file_sha256(file) for file in sorted(folder.iterdir())}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1), encoding="utf-8")


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint in ``folder``; ``None`` where a file is missing or damaged."""
    if not _is_whole(folder):
        return None
    state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    groups = {group: load_file(folder / f"{group}.safetensors") for group in _GROUPS}
    return Checkpoint(Progress(**state["progress"]), state["identity"], **groups)


def _is_whole(folder: Path) -> bool:
    files = {f"{group}.safetensors" for group in _GROUPS} | {_STATE}
    try:
        sums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        return set(sums) == files and all(file_sha256(folder / name) == value for name, value in sums.items())
    except (OSError, ValueError, AttributeError):
        return False
