"""Trains several cases with vLLM in each of two processes:

    torchrun --nproc-per-node 2 -m tests.vllm.processes OUTPUT CASE...

Rank 0 writes the result of each case to OUTPUT, where the bases of the cases are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from tests.training.factory import examples_for, save_random_base, state_for
from vicur.config.distribution import DistributionConfig
from vicur.config.sampling import Sampling
from vicur.modeling.weight_sums import weight_sums
from vicur.training.rollout import build
from vicur.training.rollout.weights import student_weights
from vicur.training.step import training_step
from vicur.training.trainer import Validation
from vicur.training.world import World

# The bucket is smaller than the model, so that there are several.
ENGINE = {"type": "vllm", "cache_gb": 0.05, "bucket_mb": 1}
SAMPLED = 12
CASES: dict[str, dict[str, Any]] = {
    "ddp, sleeping": {"distribution": {"strategy": "ddp"}},
    "fsdp, LoRA, sleeping": {
        "distribution": {"strategy": "fsdp"},
        "trained": {"type": "lora", "rank": 4, "vision": True},
    },
    "fsdp, one engine for both": {"distribution": {"strategy": "fsdp"}, "tensor_parallel": 2},
}


def base_for(name: str, folder: Path) -> Path:
    """Save the base of a case. Processes that share an engine divide its heads."""
    return save_random_base(folder, **({"hidden_size": 64, "heads": 2} if "one engine" in name else {}))


def settings_of(name: str, *, own: bool) -> dict[str, Any]:
    """Return the settings of a case, or those with the engine ``transformers``."""
    case = dict(CASES[name])
    engine = {**ENGINE, "tensor_parallel": case.pop("tensor_parallel", 1)}
    rollout = {"max_new_tokens": 6, "temperature": 0, "engine": {"type": "transformers"} if own else engine}
    return {"method": "vicur", "learning_rate": 1e-3, "rollout": rollout, **case}


def outcome(name: str, base: Path, work: Path, world: World, *, own: bool = False) -> dict[str, Any]:
    """Train two greedy steps with a validation after each, then sample.

    Returns:
        ``steps``: the metrics; ``accuracies``: of the validations; ``sums``: of the weights after the last step; ``ids``: the responses to
        the same prompts, whatever the number of processes.
    """
    state = state_for(base, work=work, world=world, **settings_of(name, own=own))
    rows = examples_for(state)
    validation = Validation([row.example for row in rows[:5]], [row.student for row in rows[:5]])
    steps, accuracies = [], []
    for number in range(2):
        steps.append(training_step(state, world.shard(rows[4 * number : 4 * number + 4]), number))
        accuracies.append(validation.accuracy(state, number + 1))
    state.engine.update(2)
    numbers = world.shard(range(SAMPLED))
    prompts = [rows[number % len(rows)].student for number in numbers]
    sampled = state.engine.generate(prompts, Sampling(max_new_tokens=8), seed=7, batch_size=SAMPLED, streams=numbers)
    shares = world.gather([(number, response.ids) for number, response in zip(numbers, sampled, strict=True)])
    ids = dict(pair for share in shares for pair in share)
    sums = weight_sums(student_weights(state.student, torch.float32))
    state.close()
    return {"steps": steps, "accuracies": accuracies, "sums": sums, "ids": [ids[number] for number in range(SAMPLED)]}


def main(output: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    world = World.from_torchrun(DistributionConfig(), "cpu")
    for name in names:
        # Sleeping needs a GPU.
        if "sleeping" in name:
            from tests.vllm import sleeping

            sleeping.install()
            build.sleeps = lambda *_: True
        result = outcome(name, output / f"base of {name}", output / "work", world)
        if world.is_main:
            (output / f"{name}.json").write_text(json.dumps(result))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
