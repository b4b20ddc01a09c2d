"""The student's weights as another engine takes them: whole, merged, by the names that they are saved under."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import Qwen3VLForConditionalGeneration

from vicur.errors import VicurError
from vicur.training.lora import merged_parameters

_SHOWN = 3
_AGAIN = (
    "Start the training again: it goes on from its checkpoint. If this comes back, leave training.rollout.engine out."
)
_HEAD, _EMBEDDING = "lm_head.weight", "model.language_model.embed_tokens.weight"


@torch.no_grad()
def student_weights(model: Qwen3VLForConditionalGeneration, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """All weights of a student, tied ones once, one after the other: no more than one is held whole beside the model.

    A weight that is sharded is gathered, so all processes go through them together.

    Args:
        model: the student, with its low-rank updates where it has some.
        dtype: type that the engine computes in.
    """
    for name, weight in merged_parameters(model, _whole):
        yield name, weight.to(dtype)


def _whole(weight: Tensor) -> Tensor:
    return weight.full_tensor() if isinstance(weight, DTensor) else weight.detach()


def require_equal(sent: Mapping[str, int], held: Mapping[str, int], engine: str, *, remedy: str = _AGAIN) -> None:
    """Compares the sums of the weights that an engine is to hold with those of the weights that it holds.

    Args:
        sent: sums by name of those that it is to hold.
        held: of those that it holds; a tied output layer may be among them.
        engine: what it is called.
        remedy: what to do where they differ.

    Raises:
        VicurError: naming weights that differ.
    """
    expected = dict(sent)
    if _HEAD in held and _EMBEDDING in expected:
        expected.setdefault(_HEAD, expected[_EMBEDDING])
    differing = sorted(name for name in expected.keys() | held.keys() if expected.get(name) != held.get(name))
    if differing:
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise VicurError(
            f"holds other weights than were given: {', '.join(differing[:_SHOWN])}{more}.",
            where=engine,
            remedy=remedy,
        )
