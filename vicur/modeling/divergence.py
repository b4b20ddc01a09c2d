"""Divergence of two models' distributions from their hidden states, in memory that does not grow with tokens times vocabulary.

What a token's gradient needs (both normalisers, and a sum over the vocabulary that itself needs them) is known only after its whole
vocabulary has passed by. So tokens are taken in strips, few enough that both models' logits of a strip are small; its gradients are
computed at once, while the logits are there, and nothing is computed twice. Cost: 8 N H V operations, as where everything is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vicur.modeling.scoring import ResponseStates
from vicur.modeling.tiles import (
    RunningSoftmax,
    TileSizes,
    VocabularyTile,
    accumulation_dtype,
    add_product_,
    exponential,
    unwritten,
    vocabulary_tiles,
    without_autocast,
)

TermsAndPull = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(student_NV, teacher_NV, probability_NV), log-probabilities and the student's probabilities p, to the terms whose sum over the vocabulary
is a divergence D, and to p_v dD/dp_v, which may be the same tensor."""


@dataclass(frozen=True, eq=False)
class DivergenceScores:
    """What a pass over both distributions of N tokens finds; only the loss has a gradient.

    Attributes:
        loss: weighted sum of the divergences.
        divergence_N: divergences.
        student_N: the student's log-probabilities of the sampled tokens.
        teacher_N: the teacher's.
        entropy_N: entropies of the student's distributions, in nats.
    """

    loss: Tensor
    divergence_N: Tensor
    student_N: Tensor
    teacher_N: Tensor
    entropy_N: Tensor


def weighted_divergence(
    student: ResponseStates,
    teacher: ResponseStates,
    terms_and_pull: TermsAndPull,
    weights_N: Tensor,
    forbidden: Tensor,
    sizes: TileSizes | None = None,
) -> DivergenceScores:
    """sum_n w_n D(p_theta,n, p_T,n) over the vocabulary without the forbidden ids.

    Differentiable in the student's hidden states and weights, once: the gradients are held from the forward on, that of the weights in
    float32 (or float64), and handed over by the backward. One that is not needed is not computed. The teacher gets none.

    Args:
        student: the student's states of the responses, which may have a graph.
        teacher: the teacher's states of the same responses.
        terms_and_pull: the divergence, as in :mod:`vicur.training.objectives`.
        weights_N: weights of the tokens.
        forbidden: ids that have no probability, sorted [F].
        sizes: tile sizes; those suited to the device where left out.
    """
    grads = torch.is_grad_enabled()
    wanted = grads and student.hidden_NH.requires_grad, grads and student.head_VH.requires_grad
    sizes = sizes or TileSizes.suited_to(student.hidden_NH.device)
    outputs = _WeightedDivergence.apply(  # type: ignore[no-untyped-call]
        student.hidden_NH,
        student.head_VH,
        teacher.hidden_NH.detach(),
        teacher.head_VH.detach(),
        _Task(terms_and_pull, student.targets_N, weights_N, forbidden, sizes, wanted),
    )
    return DivergenceScores(*outputs)


@dataclass(frozen=True, eq=False)
class _Task:
    """What a pass is to do, beside the tensors that autograd tracks."""

    terms_and_pull: TermsAndPull
    targets_N: Tensor
    weights_N: Tensor
    forbidden: Tensor
    sizes: TileSizes
    wanted: tuple[bool, bool]


class _Strip:
    """Logits of one model at some tokens, and what normalises them.

    Args:
        hidden_NH: the model's hidden states.
        head_VH: weights of its output layer.
        tiles: tiles over the vocabulary.
        room: memory for the logits [at least N * V]. A tile's lie in one piece there: products and sums are slower where they do not.
        entropy: whether the entropies are asked for.
    """

    def __init__(
        self, hidden_NH: Tensor, head_VH: Tensor, tiles: list[VocabularyTile], room: Tensor, *, entropy: bool
    ) -> None:
        self._count, self._room = len(hidden_NH), room
        self._width, self._vocabulary = tiles[0].stop, tiles[-1].stop
        self.softmax = RunningSoftmax(self._count, room, entropy=entropy)
        for tile in tiles:
            # Summed up while it is in the cache.
            self.softmax.add(tile.logits(hidden_NH, head_VH, out=self.at(tile)))
        self._normaliser_N = self.softmax.log_normaliser()

    def logprobs_of(self, targets_N: Tensor) -> Tensor:
        """Log-probabilities of one token each [N]; to be asked for before :meth:`take_logprobs`."""
        start_N = targets_N - targets_N % self._width
        width_N = (self._vocabulary - start_N).clamp(max=self._width)
        rows_N = torch.arange(self._count, device=targets_N.device)
        return self._room[self._count * start_N + rows_N * width_N + targets_N - start_N] - self._normaliser_N

    def take_logprobs(self, tile: VocabularyTile) -> Tensor:
        """Log-probabilities of a tile's ids [N, stop - start], in the place of their logits; once for each tile."""
        return self.at(tile).sub_(self._normaliser_N[:, None])

    def at(self, tile: VocabularyTile) -> Tensor:
        """What stands in the place of a tile's logits [N, stop - start]."""
        return self._room[self._count * tile.start : self._count * tile.stop].view(self._count, -1)


class _Pair:
    """Strips of student and teacher at the same tokens.

    Args:
        student: the student's hidden states [N, H] and weights [V, H].
        teacher: those of the teacher.
        tiles: tiles over the vocabulary.
        rooms: memory for the logits of both [2, at least N * V], used by one pair after the other.
    """

    def __init__(
        self,
        student: tuple[Tensor, Tensor],
        teacher: tuple[Tensor, Tensor],
        tiles: list[VocabularyTile],
        rooms: Tensor,
    ) -> None:
        self._hidden_NH, self._head_VH = student
        self._tiles = tiles
        self._student = _Strip(*student, tiles, rooms[0], entropy=True)
        self._teacher = _Strip(*teacher, tiles, rooms[1], entropy=False)
        self._pull_N = rooms.new_zeros(len(self._hidden_NH))

    def scores(self, targets_N: Tensor, terms_and_pull: TermsAndPull) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Divergences, log-probabilities of the sampled tokens under student and teacher, and the student's entropies, each [N].

        The logits are done with afterwards: the pull stands in the place of the student's, and the student's probabilities in that of
        the teacher's.
        """
        student_N, teacher_N = self._student.logprobs_of(targets_N), self._teacher.logprobs_of(targets_N)
        divergence_N = torch.zeros_like(self._pull_N)
        for tile in self._tiles:
            student_NV, teacher_NV = self._student.take_logprobs(tile), self._teacher.take_logprobs(tile)
            probability_NV = exponential(student_NV)
            terms_NV, pull_NV = terms_and_pull(student_NV, teacher_NV, probability_NV)
            sums_N = terms_NV.sum(-1)
            divergence_N += sums_N
            self._pull_N += sums_N if pull_NV is terms_NV else pull_NV.sum(-1)
            student_NV.copy_(pull_NV)
            teacher_NV.copy_(probability_NV)
        return divergence_N, student_N, teacher_N, self._student.softmax.entropy()

    def add_gradients(
        self, weights_N: Tensor, hidden_grad_NH: Tensor | None, head_grad_VH: Tensor | None, *, first: bool
    ) -> None:
        """Adds the gradients of the divergences, times weights, to what is given; once, after :meth:`scores`.

        The ``first`` strip's are put in the place of whatever stands in ``head_grad_VH``.
        """
        for tile in self._tiles:
            pull_NV, probability_NV = self._student.at(tile), self._teacher.at(tile)
            grad_NV = pull_NV.addcmul_(probability_NV, self._pull_N[:, None], value=-1)
            grad_NV = grad_NV.mul_(weights_N[:, None]).to(self._hidden_NH.dtype)
            if hidden_grad_NH is not None:
                add_product_(hidden_grad_NH, grad_NV, self._head_VH[tile.ids])
            if head_grad_VH is not None:
                add_product_(head_grad_VH[tile.ids], grad_NV.t(), self._hidden_NH, first=first)


class _WeightedDivergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_NH: Tensor, weight_VH: Tensor, teacher_NH: Tensor, teacher_VH: Tensor, task: _Task
    ) -> tuple[Tensor, ...]:
        wide, count = accumulation_dtype(hidden_NH), len(hidden_NH)
        tiles = vocabulary_tiles(len(weight_VH), task.forbidden, task.sizes.vocabulary)
        hidden_grad_NH = hidden_NH.new_zeros(hidden_NH.shape, dtype=wide) if task.wanted[0] else None
        weight_grad_VH = unwritten(weight_VH, wide, tokens=count) if task.wanted[1] else None
        found_N = [hidden_NH.new_empty(count, dtype=wide) for _ in range(4)]
        with without_autocast(hidden_NH):
            strips = list(task.sizes.strips(count, len(weight_VH), wide))
            longest = max((rows.stop - rows.start for rows in strips), default=0)
            rooms = hidden_NH.new_empty(2, longest * len(weight_VH), dtype=wide)
            for rows in strips:
                pair = _Pair((hidden_NH[rows], weight_VH), (teacher_NH[rows], teacher_VH), tiles, rooms)
                for values_N, made_N in zip(
                    found_N, pair.scores(task.targets_N[rows], task.terms_and_pull), strict=True
                ):
                    values_N[rows] = made_N
                if any(task.wanted):
                    hidden_rows = None if hidden_grad_NH is None else hidden_grad_NH[rows]
                    pair.add_gradients(task.weights_N[rows], hidden_rows, weight_grad_VH, first=rows.start == 0)
        ctx.grads = hidden_grad_NH, weight_grad_VH
        ctx.dtypes = hidden_NH.dtype, weight_VH.dtype
        ctx.mark_non_differentiable(*found_N)
        return (task.weights_N * found_N[0]).sum(), *found_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.grads is None:
            raise RuntimeError("the gradients of this divergence were handed over already: take it once more")
        grads, ctx.grads = ctx.grads, None
        scaled = [
            None if made is None else made.mul_(grad).to(dtype) for made, dtype in zip(grads, ctx.dtypes, strict=True)
        ]
        return *scaled, None, None, None
