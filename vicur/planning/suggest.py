"""Suggest changes that make a plan fit. The effect of every change is computed by planning again with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from vicur.planning.inputs import PlanInput

_BATCH_SIZES = ("micro_batch_size", "rollout_batch_size")
_DOUBLED = ("gpus", "rollout_tensor_parallel", "teacher_tensor_parallel")
_MOST_TENSOR_PARALLEL = 16


@dataclass(frozen=True)
class Change:
    """Change of one setting."""

    field: str  # of PlanInput
    value: Any
    price: str  # downside of the change, for people
    alters: bool = False  # trains a different student, rather than the same one in another way

    def apply(self, plan: PlanInput) -> PlanInput | None:
        """Return the plan's input with this change, or ``None`` if the change contradicts other fields."""
        try:
            return PlanInput.model_validate({**plan.model_dump(), self.field: self.value})
        except ValidationError:
            return None


@dataclass(frozen=True)
class Suggestion:
    """Effect of a single change."""

    change: Change
    saves: int  # bytes of peak memory per GPU
    fits: bool  # the change alone makes the plan fit


def suggestions(plan: PlanInput, peak: Callable[[PlanInput], int], limit: int) -> list[Suggestion]:
    """Return the changes that lower peak memory, sorted by savings. Changes that alter the student come last.

    Args:
        plan: input of the plan.
        peak: function that returns the peak memory of a GPU in bytes.
        limit: bytes that a GPU may use.
    """
    before = peak(plan)
    helpful = []
    for change in _changes(plan):
        changed = change.apply(plan)
        if changed is not None and (after := peak(changed)) < before:
            helpful.append(Suggestion(change, before - after, after <= limit))
    return sorted(helpful, key=lambda suggestion: (suggestion.change.alters, -suggestion.saves))


def way_to_fit(plan: PlanInput, peak: Callable[[PlanInput], int], limit: int) -> list[Change] | None:
    """Return a minimal set of changes that together make the plan fit, or ``None`` if all known changes do not suffice.

    Changes are added greedily from cheap to expensive. Then each change that turns out to be unnecessary is removed, and batch sizes are
    raised as far as the limit allows.
    """
    chosen: dict[str, Change] = {}
    current = plan
    while (current_peak := peak(current)) > limit:
        change, current = _next(current, chosen, peak, current_peak)
        if change is None:
            return None
        chosen[change.field] = change
    needed = list(chosen.values())
    for change in list(needed):
        fewer = [other for other in needed if other is not change]
        if _peak_with(plan, fewer, peak) <= limit:
            needed = fewer
    return [_with_largest_batch(plan, needed, change, peak, limit) for change in needed]


def _next(
    plan: PlanInput, chosen: Mapping[str, Change], peak: Callable[[PlanInput], int], current_peak: int
) -> tuple[Change | None, PlanInput]:
    """The first change that lowers the peak, and the plan with it."""
    for change in _changes(plan):
        # Each setting is changed once, except for numbers of GPUs, which may be doubled repeatedly.
        changed = change.apply(plan) if change.field in _DOUBLED or change.field not in chosen else None
        if changed is not None and peak(changed) < current_peak:
            return change, changed
    return None, plan


def _with_largest_batch(
    plan: PlanInput, chosen: Sequence[Change], change: Change, peak: Callable[[PlanInput], int], limit: int
) -> Change:
    if change.field not in _BATCH_SIZES:
        return change
    best = change
    for size in _doublings(plan.sequences_a_gpu):
        larger = Change(change.field, size, change.price)
        if _peak_with(plan, [larger if other is change else other for other in chosen], peak) > limit:
            break
        best = larger
    return best


def _peak_with(plan: PlanInput, changes: Sequence[Change], peak: Callable[[PlanInput], int]) -> int:
    for change in changes:
        plan = change.apply(plan) or plan
    return peak(plan)


def _doublings(most: int) -> Iterator[int]:
    size = 1
    while size < most:
        yield size
        size *= 2


def _changes(plan: PlanInput) -> list[Change]:
    """All changes that apply to the plan, from cheap to expensive."""
    shorter = max(1, plan.max_response_tokens // 2)
    longer_mean = plan.mean_response_tokens is not None and plan.mean_response_tokens > plan.max_response_tokens // 2
    candidates = [
        (plan.micro_batch > 1, Change("micro_batch_size", 1, "more forward and backward passes per step")),
        (not plan.gradient_checkpointing, Change("gradient_checkpointing", True, "one more forward pass per step")),
        (plan.mixed_precision == "none", Change("mixed_precision", "bf16", "rounding errors in forward and backward")),
        (
            plan.gpus > 1 and plan.strategy == "ddp",
            Change("strategy", "fsdp", "communication between GPUs in every pass"),
        ),
        (plan.rollout_batch > 1, Change("rollout_batch_size", 1, "slower rollouts in more batches")),
        (2 * plan.gpus <= plan.sequences, Change("gpus", 2 * plan.gpus, "more GPUs")),
        (not plan.teacher_gpus, Change("teacher_gpus", plan.gpus, "twice as many GPUs, half of them for the teacher")),
        (plan.train_vision, Change("train_vision", False, "the vision tower is frozen", alters=True)),
        (not longer_mean, Change("max_response_tokens", shorter, "longer responses are truncated", alters=True)),
        (
            plan.trained == "full",
            Change("trained", "lora", "LoRA adapters are trained instead of all weights", alters=True),
        ),
    ]
    for part in plan.server_gpus:
        field = f"{part}_tensor_parallel"
        devices = 2 * getattr(plan, field)
        change = Change(field, devices, "twice as many GPUs for each server")
        candidates.append((devices <= _MOST_TENSOR_PARALLEL, change))
    return [change for applies, change in candidates if applies]
