"""Checkpoints of a training from scratch, so that it resumes after a kill and gives the same bytes as without one.

They are those of any training (:mod:`vicur.training.checkpoint`), with the state of the generator that draws the batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from vicur.training.checkpoint import Checkpoint, Progress, restore, trained_weights
from vicur.training.checkpoint_store import CheckpointStore
from vicur.training.world import World

Phase = Literal["vision", "responses"]
"""The parts of a training, in their order."""
_PHASES: tuple[Phase, ...] = ("vision", "responses")
_EVERY = 50  # steps


@dataclass(frozen=True, eq=False)
class Trained:
    """What changes in a phase: the modules, the state of their optimizer, and the generator of the batches."""

    module: nn.Module
    adam: torch.optim.AdamW
    numbers: np.random.Generator

    def moments(self) -> dict[str, Tensor]:
        """Return the state of the optimizer by weight. Weights that got no gradient in this phase have none."""
        return {
            f"{name}.{moment}": value.clone()
            for name, weight in self.module.named_parameters()
            for moment, value in self.adam.state.get(weight, {}).items()
        }

    def restore_moments(self, saved: Mapping[str, Tensor]) -> None:
        """Restore the state of the optimizer."""
        weights = dict(self.module.named_parameters())
        for key, value in saved.items():
            name, _, moment = key.rpartition(".")
            self.adam.state[weights[name]][moment] = value


class ScratchCheckpoints:
    """The checkpoints of one training from scratch, of which the newest is kept.

    Args:
        folder: where they are kept.
        identity: everything that the result depends on.
        steps: steps of each phase.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], steps: Mapping[Phase, int]) -> None:
        self._store = CheckpointStore(folder, None, identity, keep=1)
        self._steps = steps
        self._saved = self._store.newest()

    @property
    def phase(self) -> Phase:
        """The phase of the newest checkpoint; the first one if there is none."""
        return _PHASES[0] if self._saved is None else self._saved.progress.records[0]["phase"]

    def resume(self, phase: Phase, trained: Trained) -> tuple[int, float]:
        """Restore what is trained in a phase. Returns the number of its steps that were made, and the mean loss."""
        if self._saved is None or self.phase != phase:
            return 0, 0.0
        record = self._saved.progress.records[0]
        restore(self._saved.model, trained_weights(trained.module), World.single("cpu"))
        trained.restore_moments(self._saved.optimizer)
        trained.numbers.bit_generator.state = record["numbers"]
        return record["steps"], record["average"]

    def save(self, phase: Phase, trained: Trained, steps: int, average: float) -> None:
        """Save what is trained in a phase, every 50 steps and at its end."""
        if steps % _EVERY and steps != self._steps[phase]:
            return
        record = {"phase": phase, "steps": steps, "average": average, "numbers": trained.numbers.bit_generator.state}
        before = self._steps["vision"] if phase == "responses" else 0
        self._store.save(
            Checkpoint(
                Progress(before + steps, best_accuracy=0.0, best_step=0, stale=0, records=[record]),
                self._store.identity,
                trained_weights(trained.module),
                {},
                trained.moments(),
            )
        )
