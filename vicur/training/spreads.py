"""Which model of a training is spread in which way, and where it is loaded to for that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.training import TrainConfig
from vicur.modeling import load_model
from vicur.training.parallel import DdpModel, FsdpModel, ParallelModel, SingleModel
from vicur.training.world import World


@dataclass(frozen=True, eq=False)
class ParallelPlan:
    """How the models of a training are spread over its processes.

    Attributes:
        config: settings of the training.
        processes: this process among those of the training.
        mesh: all processes, where models are sharded over them.
    """

    config: TrainConfig
    processes: World
    mesh: DeviceMesh | None

    @classmethod
    def of(cls, config: TrainConfig, processes: World) -> ParallelPlan:
        """What the settings ask for. All processes call it together."""
        sharded = processes.count > 1 and config.distribution.strategy == "fsdp"
        mesh = init_device_mesh(processes.device.type, (processes.count,)) if sharded else None
        return cls(config, processes, mesh)

    @property
    def home(self) -> torch.device:
        """Where models are loaded to: one that is to be sharded need not fit onto its device whole."""
        return self.processes.device if self.mesh is None else torch.device("cpu")

    def student(self, model: Qwen3VLForConditionalGeneration) -> ParallelModel:
        """The student."""
        if self.mesh is None and self.processes.count > 1:
            return DdpModel(model, bf16=self._bf16)
        return self.average(model)

    def average(self, model: Qwen3VLForConditionalGeneration) -> ParallelModel:
        """A copy of the student. A whole one is each process's own: all make the same of it."""
        if self.mesh is None:
            return SingleModel(model, bf16=self._bf16)
        return FsdpModel(model, self.mesh, self.processes.device, bf16=self._bf16, vision=self.config.trained.vision)

    def frozen(self, folder: Path) -> ParallelModel:
        """A model that stays as it is, held in the type that it computes in."""
        dtype, device = torch.bfloat16 if self._bf16 else torch.float32, self.processes.teacher_device
        mesh = self.mesh if device == self.processes.device else None
        home = str(device if mesh is None else self.home)
        model = load_model(folder, device=home, dtype=dtype).requires_grad_(requires_grad=False)
        # World encode at different times: each has what it needs of a frozen tower.
        return (
            SingleModel(model, bf16=False) if mesh is None else FsdpModel(model, mesh, device, bf16=False, vision=False)
        )

    @property
    def _bf16(self) -> bool:
        return self.config.mixed_precision == "bf16"
