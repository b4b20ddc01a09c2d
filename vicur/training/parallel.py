"""Models as the processes of a training hold them: alone, replicated (DDP) or sharded (FSDP2).

DDP and FSDP act in the forward of the module that they wrap. Encoding images, scoring and sampling are plain functions of the model, so
they are passed to :meth:`ParallelModel.run`, which calls them inside such a forward.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.training import TrainConfig
from vicur.modeling import load_model
from vicur.training.world import World

T = TypeVar("T")


class _CallInForward(nn.Module):
    # DDP and FSDP find the parameters in the submodule, and act when the forward calls the function.
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[], T]) -> T:
        return function()


class ParallelModel(ABC):
    """A model and how to compute with it. Its parameters may be sharded but keep their names."""

    def __init__(self, model: Qwen3VLForConditionalGeneration, *, bf16: bool) -> None:
        self.model = model
        self._bf16 = bf16

    def start(self) -> None:  # noqa: B027 (only some models need it)
        """Join the processes. All of them call this together, before :meth:`run`."""

    @abstractmethod
    def run(self, function: Callable[[], T]) -> T:
        """Return the result of ``function``, which computes with the model."""

    def run_for_backward(self, function: Callable[[], T]) -> T:
        """As :meth:`run`, if a backward follows that reaches all trained weights (together with those of earlier calls of ``run``)."""
        return self.run(function)

    def unsharded(self) -> AbstractContextManager[None]:
        """Hold all weights in each process, so that inside the block processes compute independently. For inference only."""
        return nullcontext()

    def no_sync(self) -> AbstractContextManager[None]:
        """Accumulate gradients inside the block without averaging them over processes: for all micro-batches but the last."""
        return nullcontext()

    def reshard(self) -> None:  # noqa: B027 (only some models need it)
        """Free the weights gathered for computing without a backward, so that the model's parameters are its shards again."""

    def _autocast(self) -> AbstractContextManager[Any]:
        device = self.model.device.type
        return torch.autocast(device, torch.bfloat16) if self._bf16 else nullcontext()


class SingleModel(ParallelModel):
    """A model that one process holds on its own."""

    def run(self, function: Callable[[], T]) -> T:
        with self._autocast():
            return function()


class DdpModel(ParallelModel):
    """A replica in each process (DistributedDataParallel). Averaging the gradients keeps the replicas equal."""

    def __init__(self, model: Qwen3VLForConditionalGeneration, *, bf16: bool) -> None:
        super().__init__(model, bf16=bf16)
        self._ddp: Any = None

    def start(self) -> None:
        # Buffers are constants, so that there is nothing to broadcast before a forward.
        self._ddp = DistributedDataParallel(
            _CallInForward(self.model), forward_sync_buffers=False, gradient_as_bucket_view=True
        )

    def run(self, function: Callable[[], T]) -> T:
        # Not through DDP, whose forward prepares for a backward that reaches every weight.
        with self._autocast():
            return function()

    def run_for_backward(self, function: Callable[[], T]) -> T:
        with self._autocast():
            result: T = self._ddp(function)
            return result

    def no_sync(self) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = self._ddp.no_sync()
        return context


class FsdpModel(ParallelModel):
    """A model sharded over the processes (FSDP2), in place. The weights of a layer are gathered while it computes.

    With ``bf16`` they are gathered, and computed with, in bfloat16; gradients are averaged in float32. The vision tower is sharded if
    ``vision`` is set.
    """

    def __init__(
        self,
        model: Qwen3VLForConditionalGeneration,
        mesh: DeviceMesh,
        device: torch.device,
        *,
        bf16: bool,
        vision: bool,
    ) -> None:
        super().__init__(model, bf16=False)
        visual, text = model.model.visual, model.model.language_model
        settings: dict[str, Any] = {"mesh": mesh}
        if bf16:
            settings["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        modules: list[nn.Module] = [*visual.blocks, visual, *text.layers] if vision else [*text.layers]
        self._layers: list[Any] = [fully_shard(module, **settings) for module in modules]
        if not vision:
            # A frozen tower encodes only images that its process has not seen. Sharded, it would wait for processes with nothing to encode.
            nn.Module.to(visual, device)
        ignored = set() if vision else set(visual.parameters())
        self._root: Any = fully_shard(_CallInForward(model), ignored_params=ignored, **settings)

    def start(self) -> None:
        # FSDP makes the module of the first forward the root. Otherwise that could be a single layer. The forward also gathers weights; the
        # optimizer, created afterwards, must see the shards.
        self.run(lambda: None)
        self.reshard()

    def run(self, function: Callable[[], T]) -> T:
        with warnings.catch_warnings():
            # The features of one image are a view of the tower's output for all images. Nothing writes to them.
            warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
            result: T = self._root(function)
        return result

    @contextmanager
    def unsharded(self) -> Iterator[None]:
        # Responses end at different lengths, so processes take different numbers of decoding steps.
        for module in self._layers:
            module.unshard()
            module.set_reshard_after_forward(False, recurse=False)
        try:
            yield
        finally:
            for module in self._layers:
                module.set_reshard_after_forward(True, recurse=False)
            self.reshard()

    def reshard(self) -> None:
        for module in [*self._layers, self._root]:
            module.reshard()


@dataclass(frozen=True, eq=False)
class ParallelPlan:
    """Distributes the models of a training over its processes. ``mesh`` is set if they are sharded."""

    config: TrainConfig
    world: World
    mesh: DeviceMesh | None

    @classmethod
    def create(cls, config: TrainConfig, world: World) -> ParallelPlan:
        """Return the plan for ``training.distribution``. All processes call this together."""
        sharded = world.size > 1 and config.distribution.strategy == "fsdp"
        mesh = init_device_mesh(world.device.type, (world.size,)) if sharded else None
        return cls(config, world, mesh)

    @property
    def load_device(self) -> torch.device:
        """The device to load models to: the CPU if they are sharded afterwards, since the whole model may not fit on a GPU."""
        return self.world.device if self.mesh is None else torch.device("cpu")

    def student(self, model: Qwen3VLForConditionalGeneration) -> ParallelModel:
        if self.mesh is None and self.world.size > 1:
            return DdpModel(model, bf16=self._bf16)
        return self.average(model)

    def average(self, model: Qwen3VLForConditionalGeneration) -> ParallelModel:
        """Distribute a copy of the student."""
        if self.mesh is None:
            # Every process computes the same average from its replica of the student, so there is nothing to synchronise.
            return SingleModel(model, bf16=self._bf16)
        return FsdpModel(model, self.mesh, self.world.device, bf16=self._bf16, vision=self.config.trained.vision)

    def frozen(self, folder: Path) -> ParallelModel:
        """Load and distribute a frozen model, in the type that it computes in."""
        dtype, device = torch.bfloat16 if self._bf16 else torch.float32, self.world.teacher_device
        mesh = self.mesh if device == self.world.device else None
        load_device = str(device if mesh is None else self.load_device)
        model = load_model(folder, device=load_device, dtype=dtype).requires_grad_(requires_grad=False)
        if mesh is None:
            return SingleModel(model, bf16=False)
        return FsdpModel(model, mesh, device, bf16=False, vision=False)

    @property
    def _bf16(self) -> bool:
        return self.config.mixed_precision == "bf16"
