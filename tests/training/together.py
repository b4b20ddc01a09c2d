"""Trains several cases in several processes, for tests that compare the results with those of one process:

    torchrun --nproc-per-node 2 -m tests.training.together BASE OUTPUT

Rank 0 writes the result of each case, under each strategy, to OUTPUT.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from tests.training.factory import examples_for, state_for
from vicur.config.base import BaseModelConfig
from vicur.config.distribution import DistributionConfig
from vicur.modeling.weight_sums import weight_sum, weight_sums
from vicur.training.checkpoint import trained_weights
from vicur.training.examples import TrainingExample
from vicur.training.lora import merged_parameters
from vicur.training.one_step_off import OneStepOff, one_step_off
from vicur.training.rollout.weights import student_weights
from vicur.training.state import TrainState
from vicur.training.step import training_step
from vicur.training.trainer import Validation
from vicur.training.world import World

STEPS = 2
# Bytes; the largest weight of the tiny student has 262,144.
BUCKET = 300_000
STRATEGIES = ("ddp", "fsdp")
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
    "vicur, one step off": {"method": "vicur", "staleness": 1},
    "vicur, bf16": {"method": "vicur", "mixed_precision": "bf16"},
}


@dataclass(frozen=True)
class Outcome:
    """The result of a case: metrics of each step, validation accuracy, and the trained weights."""

    steps: list[dict[str, float]]
    accuracy: float
    weights: Mapping[str, Tensor]


def outcome(name: str, base: Path, world: World, strategy: str = "ddp") -> Outcome:
    """Train a case. ``grpo`` starts from the shipped base, which earns some rewards."""
    settings = {"learning_rate": 1e-3, "distribution": {"strategy": strategy}, **CASES[name]}
    state = state_for(BaseModelConfig().folder if name == "grpo" else base, world=world, **settings)
    rows = examples_for(state)

    def own(number: int) -> list[TrainingExample]:
        return world.shard(rows[4 * number : 4 * number + 4])

    with one_step_off(state, own) as ahead:
        steps = [
            training_step(state, own(number) if ahead is None else ahead.rows(number), number, ahead)
            for number in range(STEPS)
        ]
        restored = ahead is None or is_restored(state, ahead)
    asked = rows[:5]
    validation = Validation([row.example for row in asked], [row.student for row in asked])
    accuracy = validation.accuracy(state)
    steps[0] |= {**sent_to_engines(state), "bucket/restored": float(restored)}
    return Outcome(steps, accuracy, world.collect(trained_weights(state.student)))


def is_restored(state: TrainState, ahead: OneStepOff) -> bool:
    """Return whether the responses that wait in this process are those that it gets back from a checkpoint."""
    again = OneStepOff(state, list)
    again.restore(ahead.state())
    assert again._pending is not None
    assert ahead._pending is not None
    return (again._pending.step, again._pending.responses) == (STEPS, ahead._pending.responses)


def sent_to_engines(state: TrainState) -> dict[str, float]:
    """Return whether the weights that an engine gets equal those of one full weight at a time, in two types, and the largest bucket."""
    collective, sizes = torch.distributed.all_gather_into_tensor, [0]

    def measured(output: Tensor, *args: Any, **kwargs: Any) -> Any:
        sizes.append(output.numel() * output.element_size())
        return collective(output, *args, **kwargs)

    equal = True
    for dtype in (torch.float32, torch.bfloat16):
        full: dict[str, int] = {}
        for each in merged_parameters(state.student):
            sources = [source.full_tensor() if isinstance(source, DTensor) else source for source in each.sources]
            full[each.name] = weight_sum(each.value(sources).to(dtype))
        with mock.patch.object(torch.distributed, "all_gather_into_tensor", measured):
            equal &= weight_sums(student_weights(state.student, dtype, BUCKET)) == full
    return {"bucket/equal": float(equal), "bucket/largest": float(max(sizes)), "bucket/count": float(len(sizes) - 1)}


def main(base: Path, output: Path) -> None:
    torch.set_num_threads(1)
    world = World.from_torchrun(DistributionConfig(), "cpu")
    for strategy in STRATEGIES:
        (output / strategy).mkdir(exist_ok=True)
        for name in CASES:
            result = outcome(name, base, world, strategy)
            if world.is_main:
                metrics = {
                    f"{n}.{key}": torch.tensor(value)
                    for n, step in enumerate(result.steps)
                    for key, value in step.items()
                }
                metrics["accuracy"] = torch.tensor(result.accuracy)
                save_file(dict(result.weights), output / strategy / f"{name}.weights.safetensors")
                save_file(metrics, output / strategy / f"{name}.metrics.safetensors")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
