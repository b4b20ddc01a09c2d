"""The plan of a training: what it takes of each GPU, what it computes, and what to change where it does not fit."""

from __future__ import annotations

from dataclasses import dataclass

from vicur.planning.compute import (
    Lengths,
    Seconds,
    Work,
    expected_lengths,
    longest_lengths,
    step_seconds,
    step_work,
    validations,
)
from vicur.planning.inputs import PlanInput
from vicur.planning.memory import Memory, Part, peak, state_bytes, student_memory, teacher_memory
from vicur.planning.model import Models, models_of
from vicur.planning.suggest import Change, Suggestion, suggestions, way_to_fit


@dataclass(frozen=True)
class Course:
    """What a training computes and how long it takes, for given lengths.

    Attributes:
        lengths: mean lengths of prompts and responses.
        work: operations of a step.
        seconds: time of a step's phases.
        prompt_tokens: tokens of all prompts of the training.
        response_tokens: tokens of all its responses.
        hours: its time.
        gpu_hours: its time on all GPUs, the teacher's own included.
    """

    lengths: Lengths
    work: Work
    seconds: Seconds
    prompt_tokens: int
    response_tokens: int
    hours: float
    gpu_hours: float


@dataclass(frozen=True, eq=False)
class Plan:
    """A plan.

    Attributes:
        input: what it was made from.
        models: student and teacher.
        student_memory: bytes of one of the student's GPUs.
        teacher_memory: bytes of one of the teacher's own GPUs; empty where it has none.
        limit: bytes of a GPU that may be used.
        epochs: how often each example is taken; ``None`` where their number is not known.
        validations: validations in all.
        checkpoint_bytes: size of one checkpoint on disk: weights, best weights, optimizer state.
        expected: the course at mean lengths.
        longest: the course where everything is as long as it may get.
        suggestions: changes that save memory, where it does not fit.
        way_to_fit: changes that make it fit together; ``None`` where none are known, empty where it fits.
    """

    input: PlanInput
    models: Models
    student_memory: Memory
    teacher_memory: Memory
    limit: int
    epochs: float | None
    validations: int
    checkpoint_bytes: int
    expected: Course
    longest: Course
    suggestions: tuple[Suggestion, ...]
    way_to_fit: tuple[Change, ...] | None

    @property
    def fits(self) -> bool:
        """Whether every GPU holds what it has to."""
        return all(peak(memory)[1] <= self.limit for memory in (self.student_memory, self.teacher_memory) if memory)


def make_plan(plan: PlanInput) -> Plan:
    """Plans a training.

    Raises:
        VicurError: where a model is not known.
    """
    models = models_of(plan)
    limit = int(plan.hardware.gpu_memory * (1 - plan.hardware.headroom) * 2**30)

    def highest(changed: PlanInput) -> int:
        # No change touches a model's size.
        return max(peak(m)[1] for m in (student_memory(changed, models), teacher_memory(changed, models)) if m)

    fits = highest(plan) <= limit
    way = () if fits else way_to_fit(plan, highest, limit)
    state = state_bytes(plan, models.sizes)
    return Plan(
        input=plan,
        models=models,
        student_memory=student_memory(plan, models),
        teacher_memory=teacher_memory(plan, models),
        limit=limit,
        epochs=None if plan.examples is None else epochs(plan.steps, plan.batch_size, plan.examples),
        validations=validations(plan.steps, plan.validate_every),
        checkpoint_bytes=2 * state[Part.WEIGHTS] + state[Part.OPTIMIZER],
        expected=_course(plan, models, expected_lengths(plan)),
        longest=_course(plan, models, longest_lengths(plan)),
        suggestions=() if fits else tuple(suggestions(plan, highest, limit)),
        way_to_fit=None if way is None else tuple(way),
    )


def epochs(steps: int, batch_size: int, examples: int) -> float:
    """How often each example is taken: the trainer lays epochs end to end, and a step takes the next ``batch_size`` examples."""
    return steps * batch_size / examples


def _course(plan: PlanInput, models: Models, lengths: Lengths) -> Course:
    seconds = step_seconds(plan, models, lengths)
    rollouts = plan.steps * plan.sequences
    total = plan.steps * seconds.step + validations(plan.steps, plan.validate_every) * seconds.validation
    return Course(
        lengths=lengths,
        work=step_work(plan, models, lengths),
        seconds=seconds,
        prompt_tokens=rollouts * lengths.prompt,
        response_tokens=rollouts * lengths.response,
        hours=total / 3600,
        gpu_hours=total / 3600 * (plan.gpus + plan.teacher_gpus),
    )
