"""The registry of the objectives' loss functions, and the tensors that those read.

A function is registered next to its formula: a divergence with :func:`divergence` if the objective's signal is ``vocabulary``, otherwise
a loss over sampled tokens with :func:`token_loss`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from vicur.config.objective import OBJECTIVES, Objective

K = TypeVar("K", bound=Objective)
F = TypeVar("F", bound=Callable[..., Any])

LossAndMetrics = tuple[Tensor, dict[str, float]]
Divergence = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(student_NV, teacher_NV, probability_NV) -> (terms_NV, pull_NV): log-probabilities of both and the student's probabilities to the terms
of a divergence and its pull (see ``vicur.training.objectives.vocabulary``)."""


@dataclass(frozen=True, eq=False)
class TokenScores:
    """Scores of the N sampled tokens of some responses. Log-probabilities are in nats, and the student's have their graph."""

    student_N: Tensor  # log-probabilities
    weights_N: Tensor  # from token_weights
    teacher_N: Tensor | None = None  # if the objective reads a teacher
    advantages_N: Tensor | None = None  # of each token's response, if the objective reads advantages
    # The student's log-probabilities before the first update on the batch. None if there is one update only: PPO's ratio is then 1.
    old_N: Tensor | None = None
    # Log-probabilities of the teacher's K most likely tokens, if the signal is topk.
    student_NK: Tensor | None = None
    teacher_NK: Tensor | None = None


_TOKEN_LOSSES: dict[type[Objective], Callable[[Any, TokenScores], LossAndMetrics]] = {}
_DIVERGENCES: dict[type[Objective], Callable[[Any], Divergence]] = {}


def token_loss(kind: type[K]) -> Callable[[F], F]:
    """Register the decorated function ``(objective, scores) -> (loss, metrics)`` as the loss of an objective over sampled tokens."""
    if kind.signal == "vocabulary":
        raise TypeError(f"objective {kind.__name__} has signal 'vocabulary': register its divergence")
    return _registrar(_TOKEN_LOSSES, kind)


def divergence(kind: type[K]) -> Callable[[F], F]:
    """Register the decorated function ``objective -> Divergence`` as the divergence of an objective over the vocabulary."""
    if kind.signal != "vocabulary":
        raise TypeError(f"objective {kind.__name__} has signal {kind.signal!r}: register its token loss")
    return _registrar(_DIVERGENCES, kind)


def _registrar(registry: dict[type[Objective], Any], kind: type[Objective]) -> Callable[[F], F]:
    def register(function: F) -> F:
        if kind in registry:
            raise TypeError(f"objective {kind.__name__} has a loss already")
        registry[kind] = function
        return function

    return register


def token_loss_of(objective: Objective, scores: TokenScores) -> LossAndMetrics:
    """Return the loss of an objective over sampled tokens, and its metrics."""
    require_registered([type(objective)])
    return _TOKEN_LOSSES[type(objective)](objective, scores)


def divergence_of(objective: Objective) -> Divergence:
    """Return the divergence of an objective over the vocabulary."""
    require_registered([type(objective)])
    return _DIVERGENCES[type(objective)](objective)


def require_registered(kinds: list[type[Objective]] | None = None) -> None:
    """Raise a ``TypeError`` if an objective has no registered loss. Default: check all objectives."""
    for kind in OBJECTIVES.values() if kinds is None else kinds:
        if kind not in (_DIVERGENCES if kind.signal == "vocabulary" else _TOKEN_LOSSES):
            decorator = "divergence" if kind.signal == "vocabulary" else "token_loss"
            raise TypeError(
                f"objective {kind.__name__} has no loss: register one with @{decorator}({kind.__name__}) in vicur.training.objectives"
            )
