"""Trains several cases with vLLM in each of two processes:

torchrun --nproc-per-node 2 -m tests.vllm.processes BASE OUTPUT CASE...

Rank 0 writes the result of each case to OUTPUT.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from tests.training.factory import examples_for, state_for
from vicur.config.distribution import DistributionConfig
from vicur.config.sampling import Sampling
from vicur.training.step import training_step
from vicur.training.world import World

ENGINE = {"type": "vllm", "cache_gb": 0.1, "bucket_mb": 1}
CASES: dict[str, dict[str, Any]] = {
    "ddp": {"distribution": {"strategy": "ddp"}},
    "fsdp": {"distribution": {"strategy": "fsdp"}},
    "tensor": {"distribution": {"strategy": "fsdp"}, "tensor_parallel": 2},
}


def outcome(base: Path, work: Path, world: World, case: dict[str, Any]) -> dict[str, Any]:
    settings = {"method": "vicur", "learning_rate": 1e-3, **case}
    engine = {**ENGINE, "tensor_parallel": settings.pop("tensor_parallel", 1)}
    state = state_for(base, work=work, world=world, rollout={"max_new_tokens": 6, "engine": engine}, **settings)
    rows = examples_for(state)
    steps = [training_step(state, world.shard(rows[4 * n : 4 * n + 4]), n) for n in range(2)]
    state.engine.update(2)
    numbers = world.shard(range(8))
    sampled = state.engine.generate(
        [rows[n].student for n in numbers], Sampling(max_new_tokens=8), seed=7, batch_size=8, streams=numbers
    )
    ids = {n: each.ids for part in world.gather(list(zip(numbers, sampled, strict=True))) for n, each in part}
    state.close()
    return {"steps": steps, "ids": [ids[n] for n in sorted(ids)]}


def main(base: Path, output: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    world = World.from_torchrun(DistributionConfig(), "cpu")
    for name in names:
        result = outcome(base, output / "work", world, CASES[name])
        if world.is_main:
            (output / f"{name}.json").write_text(json.dumps(result))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
