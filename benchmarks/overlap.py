"""Steps whose rollouts are sampled one step ahead (``training.staleness: 1``) compared with steps on policy.

    .venv-vllm/bin/python -m benchmarks.overlap [--hidden 192] [--batch 32] [--tokens 40] [--steps 4] [--rounds 3] [--json FILE]
    .venv/bin/python -m benchmarks.overlap --double

A vLLM server on one processor core samples (with ``--double``, that of the tests, which answers one prompt at a time with transformers),
while this process scores and updates on another one: a tiny student with cue recovery and random weights learns from a teacher with a hint.
The two kinds of steps take turns in one training, ``steps`` of each in every round, and the medians are reported. ``rollout`` is the time
that the training waits for weights to be sent and for responses. ``longer`` is what a step would take if its rollouts and the rest
overlapped perfectly.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from transformers import Qwen3VLForConditionalGeneration

from benchmarks.reporting import report
from vicur.config.data import DigitScenesConfig, Pool
from vicur.config.tiny_base import TinySizes
from vicur.config.training import TrainConfig
from vicur.data.digit_scenes import build_pools, vocabulary
from vicur.modeling import save_model
from vicur.modeling.chat import Chat
from vicur.modeling.tiny.architecture import tiny_config, tiny_image_processor, tiny_tokenizer
from vicur.training.examples import TrainingExample
from vicur.training.one_step_off import one_step_off
from vicur.training.rollout import placed
from vicur.training.selection import training_examples
from vicur.training.state import TrainState, build_state
from vicur.training.step import training_step
from vicur.training.world import World

_PHASES = ("vision", "rollout", "teacher", "update")


def saved_base(folder: Path, hidden: int) -> Chat:
    """Save a base with random weights, and return its chat."""
    chat = Chat(tokenizer := tiny_tokenizer(vocabulary()), tiny_image_processor())
    torch.manual_seed(0)
    sizes = TinySizes(hidden_size=hidden, heads=hidden // 32, intermediate_size=3 * hidden)
    save_model(Qwen3VLForConditionalGeneration(tiny_config(tokenizer, sizes)).eval(), folder)
    chat.save(folder)
    return chat


def rows_of(chat: Chat, config: TrainConfig) -> list[TrainingExample]:
    """Return one batch of examples with their prompts."""
    small = Pool(digits_per_class=2, scenes=4)
    many = Pool(digits_per_class=20, scenes=config.batch_size)
    scenes = build_pools(DigitScenesConfig(base=small, distill=many, validation=small, test=small, ood=small), seed=0)
    examples = scenes["distill"][: config.batch_size]
    return list(training_examples(examples, {row.id: str(row.cue) for row in examples}, chat, config)[0])


@contextmanager
def core(number: int) -> Iterator[None]:
    """Run this process, and what it starts, on one processor core inside the block."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def steps(
    state: TrainState, rows: list[TrainingExample], first: int, count: int, staleness: int
) -> list[dict[str, float]]:
    """Return the seconds of ``count`` steps and of their phases, after one that is not counted."""
    config = state.config.model_copy(update={"staleness": staleness})
    timed = []
    with one_step_off(replace(state, config=config), lambda _: rows) as ahead:
        for step in range(first, first + count + 1):
            started = time.perf_counter()
            metrics = training_step(replace(state, config=config), rows, step, ahead)
            phases = {phase: metrics[f"seconds/{phase}"] for phase in _PHASES}
            timed.append({"step": time.perf_counter() - started, **phases, "tokens": metrics["response_tokens"]})
    return timed[1:]


def measure(state: TrainState, rows: list[TrainingExample], count: int, rounds: int) -> dict[str, Any]:
    """Return the row of the table."""
    kinds: dict[int, list[dict[str, float]]] = {0: [], 1: []}
    first = 0
    for _ in range(rounds):
        for staleness in kinds:
            kinds[staleness] += steps(state, rows, first, count, staleness)
            # One more was sampled ahead.
            first += count + 2
    fresh, stale = ({name: median(each[name] for each in kind) for name in kind[0]} for kind in kinds.values())
    others = median(each["step"] - each["rollout"] for each in kinds[0])
    longer = max(fresh["rollout"], others)
    return {
        "tokens": fresh["tokens"],
        "rollout, s": fresh["rollout"],
        "rest, s": others,
        "on policy, s": fresh["step"],
        "ahead, s": stale["step"],
        "ahead: rollout, s": stale["rollout"],
        "longer, s": longer,
        "ahead / on policy": stale["step"] / fresh["step"],
        "longer / on policy": longer / fresh["step"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=192, help="width of the student, a multiple of 32")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=40, help="longest response")
    parser.add_argument("--updates", type=int, default=1, help="updates a batch, to balance the two sides")
    parser.add_argument("--steps", type=int, default=4, help="steps of each kind in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--double", action="store_true", help="use the tests' double of a server instead of vLLM")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        parser.error("this process may use one processor core, but training and server need one each")
    torch.set_num_threads(1)
    # The server has the core that it inherits. Without a size of its KV cache, vLLM asks for nearly all memory of the machine.
    os.environ.update(OMP_NUM_THREADS="1", VLLM_CPU_OMP_THREADS_BIND="nobind", VLLM_CPU_KVCACHE_SPACE="1")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        chat = saved_base(work / "base", options.hidden)
        engine = {"cache_gb": 1, "exchange": folder}
        config = TrainConfig.model_validate(
            {
                "method": "vicur",
                "steps": 10**6,
                "batch_size": options.batch,
                "updates_per_batch": options.updates,
                "max_prompt_tokens": 64,
                "rollout": {"max_new_tokens": options.tokens, "placement": "job", "engine": engine},
            }
        )
        inputs = {"base": work / "base"}
        with ExitStack() as servers:
            if options.double:
                double = [sys.executable, "-m", "tests.training.server_double", folder]
                servers.enter_context(patch.object(placed, "server_command", lambda task: [*double, str(task)]))
            with core(1):
                servers.enter_context(placed.placed_servers(config, inputs, work, "cpu"))
            with core(0):
                state = build_state(config, inputs, chat, 0, World.single("cpu"), work)
                row = measure(state, rows_of(chat, config), options.steps, options.rounds)
                state.close()
    server = "double" if options.double else "vLLM"
    about = {"server": server, "hidden": options.hidden, "batch": options.batch, "updates": options.updates}
    report("A step with a rollout server on another core", [{**about, **row}], options.json)


if __name__ == "__main__":
    main()
