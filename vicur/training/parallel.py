"""A model as it is spread over processes: by itself, replicated (DDP), or sharded (FSDP2).

What computes with a spread model does so inside :meth:`ParallelModel.run`, or, where a backward through the whole model follows,
:meth:`ParallelModel.scored`: the forward of the module that joins the replicas or gathers the shards. So a model's own functions
(encoding images, scoring, answering) stay as they are.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel
from transformers import Qwen3VLForConditionalGeneration

T = TypeVar("T")


class _Within(nn.Module):
    """Calls a function as its forward."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[], T]) -> T:
        return function()


class ParallelModel(ABC):
    """A model, and how to compute with it.

    Args:
        model: the model; its parameters may be sharded, but have the names that they had.
        bf16: whether its float32 weights compute in bfloat16.
    """

    def __init__(self, model: Qwen3VLForConditionalGeneration, *, bf16: bool) -> None:
        self.model = model
        self._bf16 = bf16

    def start(self) -> None:  # noqa: B027 (there is mostly nothing to do)
        """Joins the processes, which call it together before anything else, each with its model in place."""

    @abstractmethod
    def run(self, function: Callable[[], T]) -> T:
        """What ``function`` gives, which computes with the model. A backward may follow through parts of the model."""

    def scored(self, function: Callable[[], T]) -> T:
        """As :meth:`run`, where a backward follows that reaches all that is trained, together with those of earlier calls of ``run``."""
        return self.run(function)

    def gathered(self) -> AbstractContextManager[None]:
        """Inside, computing needs no other process: each may go its own way. Nothing is learned there."""
        return nullcontext()

    def accumulating(self) -> AbstractContextManager[None]:
        """Inside, gradients are made of a micro-batch that is not the last one."""
        return nullcontext()

    def settle(self) -> None:  # noqa: B027 (there is mostly nothing to do)
        """Gives back what was gathered to compute without a backward: the model's parameters are its shards then."""

    def _casting(self) -> AbstractContextManager[Any]:
        device = self.model.device.type
        return torch.autocast(device, torch.bfloat16) if self._bf16 else nullcontext()


class SingleModel(ParallelModel):
    """A model that other processes have nothing to do with."""

    def run(self, function: Callable[[], T]) -> T:
        """What ``function`` gives."""
        with self._casting():
            return function()


class DdpModel(ParallelModel):
    """A replica in each process; all learn the same, since gradients are averaged (DistributedDataParallel)."""

    def __init__(self, model: Qwen3VLForConditionalGeneration, *, bf16: bool) -> None:
        super().__init__(model, bf16=bf16)
        self._joined: Any = None

    def start(self) -> None:
        """Joins the replicas."""
        self._joined = DistributedDataParallel(
            _Within(self.model), forward_sync_buffers=False, gradient_as_bucket_view=True
        )

    def run(self, function: Callable[[], T]) -> T:
        """What ``function`` gives with this process's replica."""
        with self._casting():
            return function()

    def scored(self, function: Callable[[], T]) -> T:
        """What ``function`` gives; the backward that follows waits for the gradients of all that is trained."""
        with self._casting():
            made: T = self._joined(function)
            return made

    def accumulating(self) -> AbstractContextManager[None]:
        """Inside, gradients stay this process's own."""
        made: AbstractContextManager[None] = self._joined.no_sync()
        return made


class FsdpModel(ParallelModel):
    """A model sharded over the processes (FSDP2): the weights of a layer are gathered while it computes.

    The text layers, the vision tower's blocks, and what is left of either, are gathered one by one.

    Args:
        model: the model, best in the host's memory: it is sharded in place, layer by layer, and its shards go to the mesh's device.
        mesh: all processes.
        device: this process's device.
        bf16: whether weights are gathered, and computed with, in bfloat16. Gradients are averaged in float32.
        vision: whether the vision tower is sharded too. One that is not trained stays whole in each process: not every process has
            something to encode at the same time.
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
            nn.Module.to(visual, device)
        ignored = set() if vision else set(visual.parameters())
        self._root: Any = fully_shard(_Within(model), ignored_params=ignored, **settings)

    def start(self) -> None:
        """Makes the whole the root of its layers, whichever of them is used first afterwards: its first forward does. What was gathered
        for that is given back, so that the model's parameters are its shards, as an optimizer is to know them.
        """
        self.run(lambda: None)
        self.settle()

    def run(self, function: Callable[[], T]) -> T:
        """What ``function`` gives; all processes call it together."""
        with warnings.catch_warnings():
            # An image's rows of a pass of the tower are views of it. Nobody writes to them.
            warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
            made: T = self._root(function)
        return made

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside, each process has all weights: responses end at different lengths in different processes."""
        for module in self._layers:
            module.unshard()
            module.set_reshard_after_forward(False, recurse=False)
        try:
            yield
        finally:
            for module in self._layers:
                module.set_reshard_after_forward(True, recurse=False)
            self.settle()

    def settle(self) -> None:
        """Gives the gathered weights back."""
        for module in [*self._layers, self._root]:
            module.reshard()
