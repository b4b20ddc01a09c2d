"""Plan a training run: memory per GPU, operations and time, and changes that make it fit."""

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
from vicur.planning.memory import evaluation_memory, evaluation_rows, student_memory, teacher_memory, validation_rows
from vicur.planning.model import Models, models_of
from vicur.planning.parts import Memory, Part, Phase, peak
from vicur.planning.resident import state_bytes
from vicur.planning.servers import server_memories
from vicur.planning.suggest import Change, Suggestion, suggestions, way_to_fit


@dataclass(frozen=True)
class PlannedRun:
    """Tokens, operations and time of a training run with sequences of certain lengths."""

    lengths: Lengths
    work: Work  # of one step
    seconds: Seconds  # of one step
    prompt_tokens: int  # of the whole run
    response_tokens: int  # of the whole run
    hours: float
    gpu_hours: float  # including GPUs that hold only the teacher, and those of servers


@dataclass(frozen=True, eq=False)
class Plan:
    """Plan of a training run."""

    input: PlanInput
    models: Models
    student_memory: Memory  # of one GPU of the student
    teacher_memory: Memory  # of one GPU that holds only the teacher; empty if there are none
    server_memories: dict[str, Memory]  # of one GPU of a server that starts with the training, by its part
    evaluation_memory: Memory  # of the GPU of an evaluation
    validation_rows: int  # questions that a GPU answers at once in a validation
    evaluation_rows: int  # and in an evaluation
    limit: int  # bytes of a GPU that the run may use
    epochs: float | None  # None if the number of examples is not known
    validations: int
    checkpoint_bytes: int  # of one checkpoint on disk: weights, best weights and optimizer state
    expected: PlannedRun  # at mean lengths
    longest: PlannedRun  # at maximum lengths
    suggestions: tuple[Suggestion, ...]  # single changes that save memory; empty if the run fits
    way_to_fit: (
        tuple[Change, ...] | None
    )  # changes that together make the run fit; None if none are known, empty if it fits

    @property
    def fits(self) -> bool:
        """True if every GPU stays within the limit, in all phases."""
        return all(peak(memory)[1] <= self.limit for memory in self.memories.values())

    @property
    def memories(self) -> dict[str, Memory]:
        """Memory of one GPU of each kind that the run has."""
        memories = {
            "student": self.student_memory,
            "teacher": self.teacher_memory,
            **{f"{part} server": memory for part, memory in self.server_memories.items()},
            "evaluation": self.evaluation_memory,
        }
        return {kind: memory for kind, memory in memories.items() if memory}

    @property
    def peak(self) -> tuple[str, Phase, int]:
        """Kind of GPU and phase with the most memory, and its bytes."""
        phase_of = {kind: peak(memory) for kind, memory in self.memories.items()}
        kind = max(phase_of, key=lambda each: phase_of[each][1])
        return kind, *phase_of[kind]

    @property
    def shows_times(self) -> bool:
        """Whether times are shown: they were calibrated on a device."""
        return bool(self.input.hardware.calibrated_on)


def make_plan(plan: PlanInput) -> Plan:
    """Plan a training run.

    Raises:
        VicurError: if the architecture of a model is not known.
    """
    models = models_of(plan)
    limit = plan.hardware.limit

    def highest(changed: PlanInput) -> int:
        # No change affects the size of a model, so `models` is reused.
        memories = [
            student_memory(changed, models),
            teacher_memory(changed, models),
            *server_memories(changed, models).values(),
            evaluation_memory(changed, models),
        ]
        return max(peak(memory)[1] for memory in memories if memory)

    fits = highest(plan) <= limit
    way = () if fits else way_to_fit(plan, highest, limit)
    state = state_bytes(plan, models.sizes)
    return Plan(
        input=plan,
        models=models,
        student_memory=student_memory(plan, models),
        teacher_memory=teacher_memory(plan, models),
        server_memories=server_memories(plan, models),
        evaluation_memory=evaluation_memory(plan, models),
        validation_rows=validation_rows(plan, models),
        evaluation_rows=evaluation_rows(plan, models),
        limit=limit,
        epochs=None if plan.examples is None else epochs(plan.steps, plan.batch_size, plan.examples),
        validations=validations(plan.steps, plan.validate_every),
        checkpoint_bytes=2 * state[Part.WEIGHTS] + state[Part.OPTIMIZER],
        expected=_planned_run(plan, models, expected_lengths(plan)),
        longest=_planned_run(plan, models, longest_lengths(plan)),
        suggestions=() if fits else tuple(suggestions(plan, highest, limit)),
        way_to_fit=None if way is None else tuple(way),
    )


def epochs(steps: int, batch_size: int, examples: int) -> float:
    """Return how many times the run uses each example."""
    # Fractional, since the trainer concatenates epochs and a step takes the next batch_size examples across their boundary.
    return steps * batch_size / examples


def _planned_run(plan: PlanInput, models: Models, lengths: Lengths) -> PlannedRun:
    seconds = step_seconds(plan, models, lengths)
    rollouts = plan.steps * plan.sequences
    # Nothing runs beside the rollouts of the first step.
    first = seconds.rollout if seconds.overlaps else 0.0
    total = first + plan.steps * seconds.step + validations(plan.steps, plan.validate_every) * seconds.validation
    return PlannedRun(
        lengths=lengths,
        work=step_work(plan, models, lengths),
        seconds=seconds,
        prompt_tokens=rollouts * lengths.prompt,
        response_tokens=rollouts * lengths.response,
        hours=total / 3600,
        gpu_hours=total / 3600 * plan.all_gpus,
    )
