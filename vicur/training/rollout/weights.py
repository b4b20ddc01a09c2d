"""The student's weights in the form that engines load: full, merged, and under the names that they are saved with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import Qwen3VLForConditionalGeneration

from vicur.errors import VicurError
from vicur.training.lora import merged_parameters
from vicur.wording import listed

_RESUME = "Start the training again: it resumes from its last checkpoint. If this happens again, remove training.rollout.engine."
_HEAD, _EMBEDDING = "lm_head.weight", "model.language_model.embed_tokens.weight"


@torch.no_grad()
def student_weights(model: Qwen3VLForConditionalGeneration, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Yield all weights of a student, tied ones once, cast to ``dtype``. One full weight exists at a time.

    Sharded weights are gathered, so all processes iterate together.
    """
    for name, weight in merged_parameters(model, _full):
        yield name, weight.to(dtype)


def _full(weight: Tensor) -> Tensor:
    return weight.full_tensor() if isinstance(weight, DTensor) else weight.detach()


def require_equal(expected: Mapping[str, int], held: Mapping[str, int], engine: str, *, remedy: str = _RESUME) -> None:
    """Raise a ``VicurError`` if an engine's weights do not have the expected sums, by name."""
    sums = dict(expected)
    # Engines may hold a tied output layer under its own name.
    if _HEAD in held and _EMBEDDING in sums:
        sums.setdefault(_HEAD, sums[_EMBEDDING])
    differing = sorted(name for name in sums.keys() | held.keys() if sums.get(name) != held.get(name))
    if differing:
        raise VicurError(
            f"the engine has other weights than the training expects: {listed(differing, shown=3)}.",
            where=engine,
            remedy=remedy,
        )
