"""Steps of this project's own trainer, measured in a process of their own (started by ``benchmarks.train_step``)."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.steps.case import LEARNING_RATE, Case, EndlessChat, questions
from benchmarks.steps.meter import Meter
from vicur.config.training import TrainConfig
from vicur.training import step as step_module
from vicur.training.examples import training_examples
from vicur.training.learner import build_learner
from vicur.training.phases import Phases
from vicur.training.processes import Processes

# The tower's pass serves rollout, update and, at first, the teacher; the rollout is what needs it first.
_PHASES = {"vision": "rollout", "rollout": "rollout", "teacher": "teacher", "update": "student"}


def measure(case: Case, meter: Meter) -> None:
    """Makes the steps of ``case``."""
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
    examples, _ = training_examples(asked, {e.id: str(e.cue) for e in asked}, chat, config)

    class MeteredPhases(Phases):
        def end(self, name: str) -> None:
            super().end(name)
            meter.end(_PHASES[name])

    step_module.Phases = MeteredPhases  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as work:
        learner = build_learner(config, {"base": base, "teacher": base}, chat, 0, Processes.alone("cpu"), Path(work))
        for number in range(case.all_steps):
            rows = examples[number * case.batch_size : (number + 1) * case.batch_size]
            meter.begin()
            metrics = step_module.training_step(learner, rows, number)
            assert metrics["response_tokens"] == case.new_tokens


if __name__ == "__main__":
    torch.set_num_threads(1)
    settings, meter = Case(**json.loads(sys.argv[1])), Meter()
    measure(settings, meter)
    meter.write(Path(sys.argv[2]), settings.warm_up)
