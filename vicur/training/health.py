"""Checks of a training's state before a checkpoint keeps it: a broken one would end every retry in the same way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

from torch import Tensor
from torch.distributed.tensor import DTensor

from vicur.config.sampling import Sampling
from vicur.modeling.generation import generate
from vicur.training.checkpoint import trained_weights
from vicur.training.examples import TrainingExample
from vicur.training.state import TrainState


def require_healthy(state: TrainState, rows: Sequence[TrainingExample]) -> None:
    """Check that weights and optimizer are finite, and that the student can answer one of this rank's ``rows``.

    Weights may be finite and still so large that the next forward overflows. All ranks call this together, and all raise if one finds a
    fault.

    Raises:
        FloatingPointError: with what is not finite.
    """
    problem = _first_problem(state, rows)
    found = [each for each in state.world.gather(problem) if each is not None]
    if found:
        raise FloatingPointError(found[0])


def _first_problem(state: TrainState, rows: Sequence[TrainingExample]) -> str | None:
    broken = (f"{name} is not finite after the update" for name, tensor in _state(state) if not _is_finite(tensor))
    problem = next(broken, None)
    try:
        # Not skipped after a problem: if weights are sharded, all ranks take part in a forward, and with images in one of the tower, which
        # is sharded if it is trained. Several processes train on examples with images only (vicur.training.train).
        _answer(state, max(rows, key=lambda row: len(row.student.pixels)))
    except FloatingPointError as error:
        problem = problem or f"{str(error.args[0]).rstrip('.')} after the update"
    return problem


def _state(state: TrainState) -> Iterator[tuple[str, Tensor]]:
    names = {}
    for name, weight in trained_weights(state.student).items():
        names[weight] = name
        yield f"the weight {name}", weight
    for weight, values in state.optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.is_floating_point():
                yield f"the optimizer's {key} of {names.get(weight, 'a weight')}", value


def _is_finite(tensor: Tensor) -> bool:
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    # A sum would overflow; minimum and maximum need no copy of the size of the tensor, and NaN is both.
    return local.numel() == 0 or all(math.isfinite(float(bound)) for bound in local.detach().aminmax())


def _answer(state: TrainState, row: TrainingExample) -> None:
    """Let the student generate one token. Raises a ``FloatingPointError`` if its log-probability is not finite."""
    generated = partial(
        generate,
        state.student,
        state.chat,
        [row.student],
        Sampling(temperature=0, max_new_tokens=1),
        seed=0,
        encode=state.vision.frozen_encoder,
    )
    # One forward for each rank, so that sharded weights need not be gathered as for whole responses.
    state.parallel.run(generated)
    state.parallel.reshard()
