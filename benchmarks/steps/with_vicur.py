"""Measure steps of this project's trainer, in a process started by ``benchmarks.train_step``."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.steps.case import LEARNING_RATE, Case, EndlessChat, questions_of
from benchmarks.steps.meter import Meter
from vicur.config.training import TrainConfig
from vicur.data.schema import Example
from vicur.training import step as step_module
from vicur.training.examples import TrainingExample
from vicur.training.metrics import PhaseTimer
from vicur.training.selection import training_examples
from vicur.training.state import TrainState, build_state
from vicur.training.world import World

# One pass of the tower serves rollout and update. The rollout is the first to need it.
_PHASES = {"vision": "rollout", "rollout": "rollout", "teacher": "teacher", "update": "student"}


def measure(case: Case, meter: Meter, *, first_epoch: bool) -> None:
    """Make the steps of ``case``, in the first epoch (with the work done once for each example) or a later one."""
    chat, base = EndlessChat.load(Path(case.folder)), Path(case.folder)
    method = {"method": "opsd-cue"} if case.hint else {"method": "opd", "teacher": {"type": "checkpoint", "path": base}}
    config = TrainConfig.model_validate(
        {
            **method,
            "objective": {"type": "reverse_kl"},
            "batch_size": case.batch_size,
            "max_prompt_tokens": 1024,  # cost_curves lengthens the prompts
            "learning_rate": LEARNING_RATE,
            "rollout": {"max_new_tokens": case.new_tokens},
        }
    )
    examples = questions_of(case)

    class MeteredTimer(PhaseTimer):
        def end(self, name: str) -> None:
            super().end(name)
            meter.end(_PHASES[name])

    step_module.PhaseTimer = MeteredTimer  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as work:
        state = build_state(config, {"base": base, "teacher": base}, chat, 0, World.single("cpu"), Path(work))
        meter.trains(state.student.parameters())
        prepared = None
        if not first_epoch:
            prepared = _prepared(examples, state)
            assert state.teacher is not None
            # Fills the cache of the frozen teacher's features.
            state.teacher.features([image for row in prepared for image in row.teacher.pixels], {}, step=1)
        for number in range(case.all_steps):
            batch = slice(number * case.batch_size, (number + 1) * case.batch_size)
            meter.begin()
            rows = _prepared(examples[batch], state) if prepared is None else prepared[batch]
            # Not step 0, in which the teacher would use the features of the student, which is still equal.
            metrics = step_module.training_step(state, rows, number + 1)
            assert metrics["response_tokens"] == case.new_tokens


def _prepared(examples: Sequence[Example], state: TrainState) -> list[TrainingExample]:
    """Prepare prompts and images, as a training does once for all epochs."""
    cues = {example.id: str(example.cue) for example in examples}
    return list(training_examples(examples, cues, state.chat, state.config)[0])


if __name__ == "__main__":
    torch.set_num_threads(1)
    settings, meter = Case(**json.loads(sys.argv[1])), Meter()
    measure(settings, meter, first_epoch="--first-epoch" in sys.argv)
    meter.write(Path(sys.argv[2]), settings.warm_up)
