"""Trains in several processes, one case after the other, for tests that compare them with one process:

    torchrun --nproc-per-node 2 -m tests.training.together BASE OUTPUT STRATEGY

Process 0 writes what came of each case to OUTPUT.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.training.factory import learner_for, taught
from vicur.config.base import BaseModelConfig
from vicur.config.distribution import DistributionConfig
from vicur.training.checkpoint import trained_weights
from vicur.training.step import training_step
from vicur.training.trainer import Validation
from vicur.training.world import World

STEPS = 2
LORA = {"type": "lora", "rank": 4}
CASES: dict[str, dict[str, Any]] = {
    "vicur, k1, in micro-batches": {"method": "vicur", "micro_batch_size": 1},
    "vicur, forward KL, activations computed again": {
        "method": "vicur",
        "objective": {"type": "forward_kl"},
        "gradient_checkpointing": True,
    },
    "opsd-recovery, frozen tower, two updates a batch": {
        "method": "opsd-recovery",
        "trained": {"type": "full", "vision": False},
        "updates_per_batch": 2,
    },
    "vicur, moving average": {"method": "vicur", "teacher": {"type": "self-ema", "decay": 0.5}},
    "vicur, LoRA in the tower too": {"method": "vicur", "trained": {**LORA, "vision": True}},
    "vicur, LoRA, adapters off": {"method": "vicur", "trained": LORA, "teacher": {"type": "self-adapter-off"}},
    "vicur, the module alone": {"method": "vicur", "trained": {"type": "recovery"}},
    "opd-vicur, JSD": {"method": "opd-vicur", "objective": {"type": "jsd"}},
    "grpo": {"method": "grpo", "objective": {"type": "grpo", "group_size": 2}, "rollout": {"max_new_tokens": 40}},
    "sft": {"method": "sft", "rollout": {"max_new_tokens": 40}},
    "vicur, bf16": {"method": "vicur", "mixed_precision": "bf16"},
}


@dataclass(frozen=True)
class Outcome:
    """What came of a case: metrics of each step, validation accuracy, and the trained weights."""

    steps: list[dict[str, float]]
    accuracy: float
    weights: Mapping[str, Tensor]


def outcome(name: str, base: Path, processes: World, strategy: str = "ddp") -> Outcome:
    """Makes the steps of a case. ``grpo`` starts from a base that is right now and then."""
    settings = {"learning_rate": 1e-3, "distribution": {"strategy": strategy}, **CASES[name]}
    learner = learner_for(BaseModelConfig().folder if name == "grpo" else base, processes=processes, **settings)
    rows = taught(learner)
    steps = [training_step(learner, rows[4 * number : 4 * number + 4], number) for number in range(STEPS)]
    asked = rows[:5]
    validation = Validation([row.example for row in asked], [row.student for row in asked])
    accuracy = validation.accuracy(learner)
    return Outcome(steps, accuracy, processes.collect(trained_weights(learner.student)))


def main(base: Path, output: Path, strategy: str) -> None:
    torch.set_num_threads(1)
    processes = World.joined(DistributionConfig(strategy=strategy), "cpu")
    for name in CASES:
        made = outcome(name, base, processes, strategy)
        if processes.is_main:
            told = {
                f"{n}.{key}": torch.tensor(value) for n, step in enumerate(made.steps) for key, value in step.items()
            }
            told["accuracy"] = torch.tensor(made.accuracy)
            save_file(dict(made.weights), output / f"{name}.weights.safetensors")
            save_file(told, output / f"{name}.metrics.safetensors")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
