"""One training step: roll out, score, update. Every method runs through this loop.

A batch may be scored in micro-batches. Their tokens are weighted as parts of the whole, so loss and gradient do not depend on the split.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch.distributed.tensor import DTensor

from vicur.errors import VicurError
from vicur.modeling.vision import ImageFeatures
from vicur.training.batch import ScoredBatch
from vicur.training.diagnostics import require_small_engine_gap, with_effective_share
from vicur.training.examples import TrainingExample
from vicur.training.metrics import Metrics, PhaseTimer
from vicur.training.one_step_off import OneStepOff
from vicur.training.responses import Responses, references, rollouts
from vicur.training.state import TrainState
from vicur.training.vision import SharedFeatures


def training_step(
    state: TrainState, rows: Sequence[TrainingExample], step: int, ahead: OneStepOff | None = None
) -> dict[str, float]:
    """Make step ``step`` (from 0): one set of responses and ``updates_per_batch`` updates.

    Args:
        rows: this rank's rows of the batch.
        ahead: the rollouts of a training that samples one step ahead.

    Returns:
        The metrics of all ranks. Times are of this rank. Gaps and entropy are those of the first update, in which the student is on
        policy unless its rollouts were sampled ahead; the other metrics are means over the updates.

    Raises:
        FloatingPointError: if loss or gradient is not finite. The update is not made.
        VicurError: if an external rollout engine has other weights than the student, or differs too much from it. The same holds.
    """
    timer, config = PhaseTimer(), state.config
    images = [pixels for row in rows for pixels in row.student.pixels]
    responses: Responses | None = None
    if ahead is not None:
        responses = ahead.responses(step)
        ahead.begin(step + 1)
        timer.end("rollout")
    # One pass of the tower serves rollout and training forward, and the teacher while both towers are equal.
    features = state.vision.encode(images)
    timer.end("vision")
    if responses is None and config.effective.objective.reads:
        responses = rollouts(state, rows, features.detached(), step)
        timer.end("rollout")
    if responses is None:
        responses = references(rows)
    batch = ScoredBatch(state, responses, _teacher_features(state, rows, features, step), timer)
    timer.end("teacher")
    updates: list[dict[str, float]] = []
    for number in range(config.updates_per_batch):
        if number:
            # The update before has changed the tower.
            features = state.vision.encode(images)
            timer.end("vision")
        updates.append(_update(state, batch, features, step, first=number == 0))
        timer.end("update")
    beside: dict[str, float] = {}
    if ahead is not None:
        beside = ahead.finish()
        timer.end("rollout")
    own = Metrics()
    own.add_sum("tokens", responses.tokens)
    own.merge([batch.metrics(), responses.metrics])
    metrics = _over_ranks(state, own)
    tokens = metrics.pop("tokens")
    return {
        **_mean(updates),
        "learning_rate": state.learning_rate(step),
        **metrics,
        **timer.seconds,
        **beside,
        "tokens_per_second": tokens / sum(timer.seconds.values()),
    }


def _mean(updates: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each metric over the updates that have it."""
    names = {name: None for update in updates for name in update}
    values = {name: [update[name] for update in updates if name in update] for name in names}
    return {name: sum(each) / len(each) for name, each in values.items()}


def _over_ranks(state: TrainState, own: Metrics) -> dict[str, float]:
    metrics = Metrics()
    metrics.merge(state.world.gather(own))
    return metrics.compute()


def _teacher_features(
    state: TrainState, rows: Sequence[TrainingExample], features: SharedFeatures, step: int
) -> dict[str, ImageFeatures]:
    if state.teacher is None:
        return {}
    images = [pixels for row in rows for pixels in row.teacher.pixels]
    return state.teacher.features(images, features.detached(), step)


def _update(
    state: TrainState, batch: ScoredBatch, features: SharedFeatures, step: int, *, first: bool
) -> dict[str, float]:
    """Make one update of the student and return loss, gradient norm before clipping and the objective's metrics."""
    config, optimizer = state.config, state.optimizer
    for group in optimizer.param_groups:
        group["lr"] = state.learning_rate(step)
    own = Metrics()
    for part in (parts := list(batch.parts())):
        with nullcontext() if part is parts[-1] else state.parallel.no_sync():
            loss, loss_metrics = batch.loss(part, features)
            # The losses of all ranks add up to the batch's, but DDP and FSDP average gradients.
            (loss * state.world.size).backward()
        tokens = sum(map(len, batch.responses.ids[part]))
        own.add_sum("loss", float(loss.detach()))
        for name, value in loss_metrics.items():
            own.add_mean(name, value * tokens, tokens)
    features.backward()
    if state.teacher is not None:
        state.teacher.reshard()
    if first:
        own.merge([batch.engine_gap()])
    metrics = with_effective_share(_over_ranks(state, own))
    if first:
        # Earlier weights have other log-probabilities, but never NaN.
        limit = math.inf if batch.responses.stale else config.rollout.max_logprob_gap
        try:
            require_small_engine_gap(metrics, limit, step)
        except VicurError:
            optimizer.zero_grad()
            raise
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
    metrics["gradient_norm"] = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    if not all(math.isfinite(metrics[name]) for name in ("loss", "gradient_norm")):
        optimizer.zero_grad()
        raise FloatingPointError(f"loss {metrics['loss']}, gradient norm {metrics['gradient_norm']}")
    optimizer.step()
    # Now rather than before the next backward: rollouts need the memory.
    optimizer.zero_grad()
    if state.teacher is not None:
        state.teacher.update(state.student)
    return metrics
