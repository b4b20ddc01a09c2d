"""Divergence of two models' distributions from their hidden states, in memory that does not grow with tokens times vocabulary.

A token's gradient needs both normalisers and a sum over the vocabulary that in turn needs them, so it is known only after the whole
vocabulary has been visited. Tokens are therefore processed in strips, short enough that both models' logits of a strip are small. Gradients
are computed at once, while the logits exist, and nothing is computed twice. Cost: 8 N H V operations, as with all logits in memory.
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
    empty_gradient,
    exponential,
    vocabulary_tiles,
    without_autocast,
)

# Maps log-probabilities of student and teacher and the student's probabilities p (student_NV, teacher_NV, probability_NV)
# to the terms whose sum over the vocabulary is a divergence D, and to p_v dD/dp_v, which may be the same tensor.
TermsAndPull = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class DivergenceScores:
    """Results of a pass over both distributions of N tokens. Only the loss has a gradient."""

    loss: Tensor  # weighted sum of the divergences
    divergence_N: Tensor
    student_N: Tensor  # the student's log-probabilities of the sampled tokens
    teacher_N: Tensor  # the teacher's
    entropy_N: Tensor  # of the student's distributions, in nats


def weighted_divergence(
    student: ResponseStates,
    teacher: ResponseStates,
    terms_and_pull: TermsAndPull,  # the divergence, as in vicur.training.objectives
    weights_N: Tensor,  # weights of the tokens
    forbidden: Tensor,  # ids that have no probability, sorted [F]
    sizes: TileSizes | None = None,
) -> DivergenceScores:
    """Compute sum_n w_n D(p_theta,n, p_T,n) over the vocabulary without the forbidden ids.

    Differentiable once in the student's hidden states and weights, not in the teacher's. Gradients are computed in the forward, if they are
    needed, and returned by the backward; that of the weights is held in float32 (or float64).
    """
    grads = torch.is_grad_enabled()
    needs_grad = grads and student.hidden_NH.requires_grad, grads and student.head_VH.requires_grad
    sizes = sizes or TileSizes.suited_to(student.hidden_NH.device)
    outputs = _WeightedDivergence.apply(  # type: ignore[no-untyped-call]
        student.hidden_NH,
        student.head_VH,
        teacher.hidden_NH.detach(),
        teacher.head_VH.detach(),
        _Options(terms_and_pull, student.targets_N, weights_N, forbidden, sizes, needs_grad),
    )
    return DivergenceScores(*outputs)


@dataclass(frozen=True, eq=False)
class _Options:
    """Arguments of a pass that autograd does not track."""

    terms_and_pull: TermsAndPull
    targets_N: Tensor
    weights_N: Tensor
    forbidden: Tensor
    sizes: TileSizes
    needs_grad: tuple[bool, bool]  # of hidden states and weights


class _Strip:
    """Logits of one model at N tokens and their normalisers, in a buffer of at least N * V elements."""

    def __init__(
        self, hidden_NH: Tensor, head_VH: Tensor, tiles: list[VocabularyTile], buffer: Tensor, *, entropy: bool
    ) -> None:
        # The buffer is flat, so that each tile is contiguous: products and sums of strided tiles are slower.
        self._count, self._buffer = len(hidden_NH), buffer
        self._width, self._vocabulary = tiles[0].stop, tiles[-1].stop
        self.softmax = RunningSoftmax(self._count, buffer, entropy=entropy)
        for tile in tiles:
            # Accumulate each tile while it is in the cache.
            self.softmax.add(tile.logits(hidden_NH, head_VH, out=self.at(tile)))
        self._normaliser_N = self.softmax.log_normaliser()

    def logprobs_of(self, targets_N: Tensor) -> Tensor:
        """Return the log-probability of one token each [N]. Must be called before :meth:`take_logprobs`."""
        start_N = targets_N - targets_N % self._width
        width_N = (self._vocabulary - start_N).clamp(max=self._width)
        rows_N = torch.arange(self._count, device=targets_N.device)
        return self._buffer[self._count * start_N + rows_N * width_N + targets_N - start_N] - self._normaliser_N

    def take_logprobs(self, tile: VocabularyTile) -> Tensor:
        """Convert a tile's logits to log-probabilities in place [N, stop - start]. Call once per tile."""
        return self.at(tile).sub_(self._normaliser_N[:, None])

    def at(self, tile: VocabularyTile) -> Tensor:
        """Return the view of a tile in the buffer [N, stop - start]."""
        return self._buffer[self._count * tile.start : self._count * tile.stop].view(self._count, -1)


class _Pair:
    """Strips of student and teacher at the same tokens."""

    def __init__(
        self,
        student: tuple[Tensor, Tensor],  # hidden states [N, H] and weights [V, H]
        teacher: tuple[Tensor, Tensor],
        tiles: list[VocabularyTile],
        buffers: Tensor,  # memory for the logits of both [2, at least N * V], reused by each pair
    ) -> None:
        self._hidden_NH, self._head_VH = student
        self._tiles = tiles
        self._student = _Strip(*student, tiles, buffers[0], entropy=True)
        self._teacher = _Strip(*teacher, tiles, buffers[1], entropy=False)
        self._pull_N = buffers.new_zeros(len(self._hidden_NH))

    def scores(self, targets_N: Tensor, terms_and_pull: TermsAndPull) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return divergences, log-probabilities of the sampled tokens under student and teacher, and the student's entropies, each [N]."""
        student_N, teacher_N = self._student.logprobs_of(targets_N), self._teacher.logprobs_of(targets_N)
        divergence_N = torch.zeros_like(self._pull_N)
        for tile in self._tiles:
            student_NV, teacher_NV = self._student.take_logprobs(tile), self._teacher.take_logprobs(tile)
            probability_NV = exponential(student_NV)
            terms_NV, pull_NV = terms_and_pull(student_NV, teacher_NV, probability_NV)
            sums_N = terms_NV.sum(-1)
            divergence_N += sums_N
            self._pull_N += sums_N if pull_NV is terms_NV else pull_NV.sum(-1)
            # The logits are not needed any more: reuse their memory for what add_gradients reads.
            student_NV.copy_(pull_NV)
            teacher_NV.copy_(probability_NV)
        return divergence_N, student_N, teacher_N, self._student.softmax.entropy()

    def add_gradients(
        self, weights_N: Tensor, hidden_grad_NH: Tensor | None, head_grad_VH: Tensor | None, *, first: bool
    ) -> None:
        """Add the weighted gradients of the divergences to the given tensors. Call once, after :meth:`scores`.

        The ``first`` pair overwrites ``head_grad_VH``, which may be uninitialised.
        """
        for tile in self._tiles:
            pull_NV, probability_NV = self._student.at(tile), self._teacher.at(tile)
            # dD/dz_v = pull_v - p_v sum_u pull_u
            grad_NV = pull_NV.addcmul_(probability_NV, self._pull_N[:, None], value=-1)
            grad_NV = grad_NV.mul_(weights_N[:, None]).to(self._hidden_NH.dtype)
            if hidden_grad_NH is not None:
                add_product_(hidden_grad_NH, grad_NV, self._head_VH[tile.ids])
            if head_grad_VH is not None:
                add_product_(head_grad_VH[tile.ids], grad_NV.t(), self._hidden_NH, first=first)


class _WeightedDivergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_NH: Tensor, weight_VH: Tensor, teacher_NH: Tensor, teacher_VH: Tensor, options: _Options
    ) -> tuple[Tensor, ...]:
        wide, count = accumulation_dtype(hidden_NH), len(hidden_NH)
        tiles = vocabulary_tiles(len(weight_VH), options.forbidden, options.sizes.vocabulary)
        hidden_grad_NH = hidden_NH.new_zeros(hidden_NH.shape, dtype=wide) if options.needs_grad[0] else None
        weight_grad_VH = empty_gradient(weight_VH, wide, tokens=count) if options.needs_grad[1] else None
        scores_N = [hidden_NH.new_empty(count, dtype=wide) for _ in range(4)]
        with without_autocast(hidden_NH):
            strips = list(options.sizes.strips(count, len(weight_VH), wide))
            longest = max((rows.stop - rows.start for rows in strips), default=0)
            buffers = hidden_NH.new_empty(2, longest * len(weight_VH), dtype=wide)
            for rows in strips:
                pair = _Pair((hidden_NH[rows], weight_VH), (teacher_NH[rows], teacher_VH), tiles, buffers)
                strip_scores = pair.scores(options.targets_N[rows], options.terms_and_pull)
                for values_N, strip_N in zip(scores_N, strip_scores, strict=True):
                    values_N[rows] = strip_N
                if any(options.needs_grad):
                    hidden_rows = None if hidden_grad_NH is None else hidden_grad_NH[rows]
                    pair.add_gradients(options.weights_N[rows], hidden_rows, weight_grad_VH, first=rows.start == 0)
        ctx.grads = hidden_grad_NH, weight_grad_VH
        ctx.dtypes = hidden_NH.dtype, weight_VH.dtype
        ctx.mark_non_differentiable(*scores_N)
        return (options.weights_N * scores_N[0]).sum(), *scores_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.grads is None:
            raise RuntimeError("the gradients of this divergence were already used; compute the divergence again")
        # The gradients are scaled in place, so they can be used only once.
        grads, ctx.grads = ctx.grads, None
        scaled = [
            None if made is None else made.mul_(grad).to(dtype) for made, dtype in zip(grads, ctx.dtypes, strict=True)
        ]
        return *scaled, None, None, None
