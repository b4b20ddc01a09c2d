"""What to change so that a plan fits, each change tried by planning again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from vicur.planning.inputs import PlanInput

_HALVED = ("micro_batch_size", "rollout_batch_size")


@dataclass(frozen=True)
class Change:
    """One setting to change.

    Attributes:
        field: field of the plan's input.
        value: its new value.
        price: what it costs, in words.
        alters: whether another student comes out of it, rather than the same one computed in another way.
    """

    field: str
    value: Any
    price: str
    alters: bool = False

    def apply(self, plan: PlanInput) -> PlanInput | None:
        """The plan's input with the change; ``None`` where the change does not go with the rest."""
        try:
            return PlanInput.model_validate({**plan.model_dump(), self.field: self.value})
        except ValidationError:
            return None


@dataclass(frozen=True)
class Suggestion:
    """A change and what came of trying it alone.

    Attributes:
        change: the change.
        saves: bytes by which the highest level of a GPU falls.
        fits: whether it is enough.
    """

    change: Change
    saves: int
    fits: bool


def suggestions(plan: PlanInput, peak: Callable[[PlanInput], int], limit: int) -> list[Suggestion]:
    """Changes that lower the highest level of a GPU, those that leave the student as it is first, then by what they save.

    Args:
        plan: a plan's input.
        peak: the highest level of a GPU under an input, in bytes.
        limit: bytes that may be used.
    """
    before = peak(plan)
    found = []
    for change in _changes(plan):
        changed = change.apply(plan)
        if changed is not None and (after := peak(changed)) < before:
            found.append(Suggestion(change, before - after, after <= limit))
    return sorted(found, key=lambda suggestion: (suggestion.change.alters, -suggestion.saves))


def way_to_fit(plan: PlanInput, peak: Callable[[PlanInput], int], limit: int) -> list[Change] | None:
    """Changes that make the plan fit together, none of them needless; ``None`` where all that are known do not suffice.

    They are added from cheap to dear, each time the first that helps; then each is dropped again that the others can do without, and
    batches are made as large as they may be.
    """
    chosen: dict[str, Change] = {}
    current = plan
    while (level := peak(current)) > limit:
        change, current = _next(current, chosen, peak, level)
        if change is None:
            return None
        chosen[change.field] = change
    needed = list(chosen.values())
    for change in list(needed):
        fewer = [other for other in needed if other is not change]
        if _level(plan, fewer, peak) <= limit:
            needed = fewer
    return [_loosened(plan, needed, change, peak, limit) for change in needed]


def _next(
    plan: PlanInput, chosen: Mapping[str, Change], peak: Callable[[PlanInput], int], level: int
) -> tuple[Change | None, PlanInput]:
    """The first change that lowers the level, and the plan with it. Only GPUs may be doubled again."""
    for change in _changes(plan):
        changed = change.apply(plan) if change.field == "gpus" or change.field not in chosen else None
        if changed is not None and peak(changed) < level:
            return change, changed
    return None, plan


def _loosened(
    plan: PlanInput, chosen: Sequence[Change], change: Change, peak: Callable[[PlanInput], int], limit: int
) -> Change:
    """The change with the largest batch, by doubling, that still fits."""
    if change.field not in _HALVED:
        return change
    best = change
    for size in _doublings(plan.sequences_a_gpu):
        larger = Change(change.field, size, change.price)
        if _level(plan, [larger if other is change else other for other in chosen], peak) > limit:
            break
        best = larger
    return best


def _level(plan: PlanInput, changes: Sequence[Change], peak: Callable[[PlanInput], int]) -> int:
    for change in changes:
        plan = change.apply(plan) or plan
    return peak(plan)


def _doublings(most: int) -> Iterator[int]:
    size = 1
    while size < most:
        yield size
        size *= 2


def _changes(plan: PlanInput) -> list[Change]:
    """What may be changed, from cheap to dear."""
    several = plan.gpus > 1
    candidates = {
        Change("micro_batch_size", 1, "more passes over the weights a step"): plan.micro_batch > 1,
        Change("gradient_checkpointing", True, "a forward more a step"): not plan.gradient_checkpointing,
        Change("mixed_precision", "bf16", "rounding in forward and backward"): plan.mixed_precision == "none",
        Change("strategy", "fsdp", "traffic between GPUs in every pass"): several and plan.strategy == "ddp",
        Change("rollout_batch_size", 1, "slower rollouts: a batch after the other"): plan.rollout_batch > 1,
        Change("gpus", 2 * plan.gpus, "more GPUs"): 2 * plan.gpus <= plan.sequences,
        Change("teacher_gpus", plan.gpus, "as many GPUs again, for the teacher"): not plan.teacher_gpus,
        Change("train_vision", False, "the vision tower stays as it is", alters=True): plan.train_vision,
        Change(
            "max_response_tokens", max(1, plan.max_response_tokens // 2), "longer responses are cut off", alters=True
        ): plan.mean_response_tokens is None or plan.mean_response_tokens <= plan.max_response_tokens // 2,
        Change("trained", "lora", "low-rank updates are trained instead of all weights", alters=True): plan.trained
        == "full",
    }
    return [change for change, offered in candidates.items() if offered]
