"""A double of vLLM's sleep mode for CPU engines, which have none.

It follows the GPU worker of vLLM 0.32 (``vllm/v1/worker/gpu_worker.py``): sleeping with level 2 saves the model's buffers and frees the
memory of everything else that was allocated while the model was loaded, and the KV cache. Here, that memory is overwritten. Waking up with
the tag ``weights`` restores the buffers only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from vllm.platforms import current_platform
from vllm.v1.worker.cpu_worker import CPUWorker

_GARBAGE = 7


def install() -> None:
    """Replace sleeping and waking up of CPU workers in this process."""
    type(current_platform).is_sleep_mode_available = lambda _: True
    CPUWorker.sleep = _sleep
    CPUWorker.wake_up = _wake_up


@torch.no_grad()
def _sleep(self: Any, level: int = 1) -> None:
    assert level == 2
    model = self.model_runner.get_model()
    self._saved = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for tensor in [*_tensors(model), *self.model_runner.kv_caches]:
        tensor.fill_(float("nan") if tensor.is_floating_point() else _GARBAGE)


@torch.no_grad()
def _wake_up(self: Any, tags: list[str] | None = None) -> None:
    if tags is None or "weights" in tags:
        for name, buffer in self.model_runner.get_model().named_buffers():
            buffer.copy_(self._saved[name])


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    """Yield all tensors of a model, also those that are plain attributes of a module."""
    yield from model.parameters()
    yield from model.buffers()
    for module in model.modules():
        # Copies that are on the CPU although the model is on a GPU have this ending.
        yield from (v for name, v in vars(module).items() if isinstance(v, Tensor) and not name.endswith("_cpu"))
