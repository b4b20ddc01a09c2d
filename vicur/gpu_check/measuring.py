"""Measure steps of the trainer: seconds and peak memory by phase, tokens per second, MFU, and the plan's figures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

from vicur.config.sampling import Sampling
from vicur.gpu_check.agreement import tiny_step
from vicur.gpu_check.case import Case
from vicur.gpu_check.meter import Meter
from vicur.gpu_check.models import EndlessChat
from vicur.modeling.chat import Chat
from vicur.planning import make_plan
from vicur.planning.compute import Lengths, step_work
from vicur.planning.parts import Phase
from vicur.training import step as step_module
from vicur.training.metrics import PhaseTimer
from vicur.training.state import TrainState, build_state
from vicur.training.world import World

# One pass of the tower serves rollout and update. The rollout is the first to need it. The optimizer is part of the update.
_PHASES = {"vision": "rollout", "rollout": "rollout", "teacher": "teacher", "update": "update"}
PLANNED = {
    "load": (Phase.LOAD,),
    "rollout": (Phase.ROLLOUT,),
    "teacher": (Phase.TEACHER,),
    "update": (Phase.UPDATE, Phase.OPTIMIZER),
    "validation": (Phase.VALIDATION,),
}
"""Phases of a plan by measured phase."""


def measure(case: Case, world: World, work: Path) -> dict[str, Any]:
    """Make the steps of ``case``, as one of the processes of ``world``. All of them call this together.

    Returns:
        JSON values: ``seconds`` of a step by phase and of the whole ``step``; ``peaks`` and ``planned`` bytes by phase;
        ``tokens_per_second``, the response tokens of one process; ``decode_step_ms``; and for MFU ``operations`` of a process by kind and
        ``update_operations``, with what gradient checkpointing computes again.
    """
    chat, config = EndlessChat.load(case.folder), case.config()
    meter = Meter(case.device)
    _warm_up(case, world)
    meter.zero()
    inputs = {"base": case.folder, "teacher": case.folder}
    state = build_state(config, inputs, chat, 0, world, work)
    meter.end("load")
    try:
        _steps(case, state, chat, meter)
        if case.validation:
            _validate(case, state, chat, meter)
    finally:
        state.close()
    return _record(case, meter)


def _warm_up(case: Case, world: World) -> None:
    """Load what the first step loads: libraries, kernels, and the communication of the processes."""
    tiny_step(World.single(str(world.device)), {})
    world.gather(case.shape)


def _steps(case: Case, state: TrainState, chat: Chat, meter: Meter) -> None:
    class MeteredTimer(PhaseTimer):
        def end(self, name: str) -> None:
            super().end(name)
            meter.end(_PHASES[name])

    with patch.object(step_module, "PhaseTimer", MeteredTimer):
        for number in range(case.warm_up + case.steps):
            if number == case.warm_up:
                meter.forget_seconds()
            first = (number * state.world.size + state.world.rank) * case.rows
            rows = case.examples(chat, case.rows, first)
            meter.begin()
            # Not step 0, in which the teacher would use the features of the student, which is still equal.
            step_module.training_step(state, rows, number + 1)
            meter.end("update")


def _validate(case: Case, state: TrainState, chat: Chat, meter: Meter) -> None:
    rows = case.examples(chat, case.validation, 10_000 + state.world.rank * case.validation)
    meter.begin()
    state.engine.update(case.warm_up + case.steps + 1)
    state.engine.generate(
        [row.student for row in rows],
        Sampling(temperature=0, max_new_tokens=case.response),
        seed=0,
        batch_size=case.validation,
        encode=state.vision.frozen_encoder,
    )
    meter.end("validation")


def _record(case: Case, meter: Meter) -> dict[str, Any]:
    plan = make_plan(case.plan())
    seconds = {phase: total / case.steps for phase, total in meter.seconds.items() if phase in _PHASES.values()}
    step = sum(seconds.values())
    memory = plan.student_memory
    # A teacher on another device is part of the same process.
    teacher = plan.teacher_memory if case.device == "cpu" else {}
    beside = {phase: sum((teacher.get(phase) or teacher.get(Phase.LOAD, {})).values()) for phase in memory | teacher}
    planned = {
        name: max((sum(memory.get(p, {}).values()) + beside[p] for p in phases if p in beside), default=0)
        for name, phases in PLANNED.items()
    }
    lengths = Lengths(case.prompt, case.response, case.response)
    work = step_work(plan.input, plan.models, lengths)
    # MFU does not count what gradient checkpointing computes again.
    useful = step_work(plan.input.model_copy(update={"gradient_checkpointing": False}), plan.models, lengths)
    return {
        "shape": case.shape,
        "processes": case.processes,
        "seconds": seconds,
        "step": step,
        "peaks": {phase: meter.peaks[phase] for phase in PLANNED if phase in meter.peaks},
        "planned": {name: size for name, size in planned.items() if size and name in meter.peaks},
        "tokens_per_second": case.rows * case.response / step,
        "operations": {name: value / case.processes for name, value in asdict(useful).items()},
        "update_operations": (work.forward + work.backward + work.loss) / case.processes,
        "decode_step_ms": 1e3 * seconds["rollout"] / case.response,
    }
