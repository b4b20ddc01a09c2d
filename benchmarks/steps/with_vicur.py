"""Steps of this project's own trainer, measured in a process of their own (started by ``benchmarks.train_step``)."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.steps.case import LEARNING_RATE, Case, EndlessChat, questions
from benchmarks.steps.meter import Meter
from vicur.config.training import TrainConfig
from vicur.data.schema import Example
from vicur.training import step as step_module
from vicur.training.examples import TrainingExample, training_examples
from vicur.training.metrics import PhaseTimer
from vicur.training.state import TrainState, build_state
from vicur.training.world import World

# The tower's pass serves rollout, update and, at first, the teacher; the rollout is what needs it first.
_PHASES = {"vision": "rollout", "rollout": "rollout", "teacher": "teacher", "update": "student"}


def measure(case: Case, meter: Meter, *, first_epoch: bool) -> None:
    """Makes the steps of ``case``: of the first epoch, in which what is done once for each example falls into them, or of a later one."""
    chat, base = EndlessChat.load(Path(case.folder)), Path(case.folder)
    method = {"method": "opsd-cue"} if case.hint else {"method": "opd", "teacher": {"type": "checkpoint", "path": base}}
    config = TrainConfig.model_validate(
        {
            **method,
            "objective": {"type": "reverse_kl"},
            "batch_size": case.batch_size,
            "learning_rate": LEARNING_RATE,
            "rollout": {"max_new_tokens": case.new_tokens},
        }
    )
    asked = questions(case.batch_size * case.all_steps)

    class MeteredTimer(PhaseTimer):
        def end(self, name: str) -> None:
            super().end(name)
            meter.end(_PHASES[name])

    step_module.PhaseTimer = MeteredTimer  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as work:
        state = build_state(config, {"base": base, "teacher": base}, chat, 0, World.single("cpu"), Path(work))
        known = None
        if not first_epoch:
            known = _prepared(asked, state)
            assert state.teacher is not None
            state.teacher.features([image for row in known for image in row.teacher.pixels], {}, step=1)
        for number in range(case.all_steps):
            batch = slice(number * case.batch_size, (number + 1) * case.batch_size)
            meter.begin()
            rows = _prepared(asked[batch], state) if known is None else known[batch]
            # Not step 0, in which a teacher may take the features of a student that is still the same.
            metrics = step_module.training_step(state, rows, number + 1)
            assert metrics["response_tokens"] == case.new_tokens


def _prepared(asked: Sequence[Example], state: TrainState) -> list[TrainingExample]:
    """Prompts and images, prepared as a training does once for all its epochs."""
    cues = {example.id: str(example.cue) for example in asked}
    return training_examples(asked, cues, state.chat, state.config)[0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    settings, meter = Case(**json.loads(sys.argv[1])), Meter()
    measure(settings, meter, first_epoch="--first-epoch" in sys.argv)
    meter.write(Path(sys.argv[2]), settings.warm_up)
