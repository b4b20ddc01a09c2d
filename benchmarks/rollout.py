"""Rollouts of the trained model itself compared with those of vLLM inside the training.

    .venv-vllm/bin/python -m benchmarks.rollout [--batches 8 32 128 512] [--hidden 96] [--tokens 40] [--rounds 3] [--json FILE]

Both sample at temperature 1 with the same weights: a tiny student with cue recovery and random weights, so that nearly all responses have
the maximum length, and digit scenes with one image each. As in training, each round sends the weights to vLLM (``transfer``, with sums
compared on both sides), after which it encodes the images again. The engines take turns; the first round of each batch size is not
counted, and the shortest other one is reported (in CPU time on a CPU).

``share`` is the transfer's share of vLLM's round, ``faster`` is vLLM's tokens a second (including the transfer) over the trained model's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3VLForConditionalGeneration

from benchmarks.reporting import report
from vicur.config.data import DigitScenesConfig, Pool
from vicur.config.sampling import Sampling
from vicur.config.tiny_base import TinySizes
from vicur.config.training import TrainConfig
from vicur.data.digit_scenes import build_pools, vocabulary
from vicur.modeling import save_model, with_cue_recovery
from vicur.modeling.chat import Chat, Prompt
from vicur.modeling.generation import Response
from vicur.modeling.tiny.architecture import tiny_config, tiny_image_processor, tiny_tokenizer
from vicur.training.parallel import SingleModel
from vicur.training.rollout import RolloutEngine, TransformersEngine
from vicur.training.rollout.build import build_engine
from vicur.training.world import World


def engines(hidden: int, tokens: int, device: str, work: Path) -> tuple[Chat, RolloutEngine, RolloutEngine]:
    """Return a student's chat, its own engine, and vLLM."""
    tokenizer = tiny_tokenizer(vocabulary())
    chat = Chat(tokenizer, tiny_image_processor())
    torch.manual_seed(0)
    sizes = TinySizes(hidden_size=hidden, heads=hidden // 32, intermediate_size=3 * hidden)
    backbone = Qwen3VLForConditionalGeneration(tiny_config(tokenizer, sizes)).eval()
    config = TrainConfig.model_validate(
        {"rollout": {"max_new_tokens": tokens, "engine": {"type": "vllm", "cache_gb": 2}}, "max_prompt_tokens": 64}
    )
    save_model(backbone, work / "base")
    chat.save(work / "base")
    student = with_cue_recovery(backbone, config.recovery.module, 0, im_start_token_id=chat.start_id).to(device)
    parallel = SingleModel(student, bf16=False)
    vllm = build_engine(config, work / "base", parallel, chat, World.single(device), work)
    return chat, TransformersEngine(parallel, chat), vllm


def prompts_of(chat: Chat, count: int) -> list[Prompt]:
    """Return prompts with different images."""
    small = Pool(digits_per_class=2, scenes=4)
    many = Pool(digits_per_class=20, scenes=count)
    scenes = build_pools(DigitScenesConfig(base=small, distill=many, validation=small, test=small, ood=small), seed=0)
    return [chat.prompt(row.question, [chat.pixels(image) for image in row.images]) for row in scenes["distill"]][
        :: small.questions
    ][:count]


def seconds_of(work: Callable[[], Any], device: str) -> tuple[float, Any]:
    def now() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    before = now()
    result = work()
    return now() - before, result


def measure(
    own: RolloutEngine,
    vllm: RolloutEngine,
    prompts: Sequence[Prompt],
    tokens: int,
    rounds: int,
    device: str,
    first: int,
) -> dict[str, Any]:
    """Return the row of one batch size. ``first`` is the version of the first weights that are sent."""
    sampling = Sampling(max_new_tokens=tokens)
    best: dict[str, float] = {}
    sampled: dict[str, int] = {}

    def note(name: str, taken: float, responses: Sequence[Response]) -> None:
        rate = sum(len(response.ids) for response in responses) / taken
        if rate > best.get(name, 0.0):
            best[name], sampled[name] = rate, sum(len(response.ids) for response in responses)

    transfer = float("inf")
    for number in range(rounds + 1):
        seed = first + number
        taken, responses = seconds_of(
            lambda s=seed: own.generate(prompts, sampling, seed=s, batch_size=len(prompts)), device
        )  # type: ignore[misc]
        sent, _ = seconds_of(lambda s=seed: vllm.update(s), device)  # type: ignore[misc]
        others, answers = seconds_of(
            lambda s=seed: vllm.generate(prompts, sampling, seed=s, batch_size=len(prompts)), device
        )  # type: ignore[misc]
        if number:
            note("own", taken, responses)
            note("vllm", others + sent, answers)
            transfer = min(transfer, sent)
    return {
        "batch": len(prompts),
        "own tokens": sampled["own"],
        "own tokens/s": best["own"],
        "vLLM tokens": sampled["vllm"],
        "vLLM tokens/s": best["vllm"],
        "transfer, ms": transfer * 1e3,
        "share": transfer * best["vllm"] / sampled["vllm"],
        "faster": best["vllm"] / best["own"],
    }


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=_count, nargs="+", default=[8, 32, 128, 512])
    parser.add_argument("--hidden", type=_count, nargs="+", default=[96], help="widths of the student, multiples of 32")
    parser.add_argument("--tokens", type=_count, default=40, help="longest response")
    parser.add_argument("--rounds", type=_count, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if wrong := [width for width in options.hidden if width % 32]:
        parser.error(f"argument --hidden: must be a multiple of 32, not {wrong[0]}")
    torch.set_num_threads(1)
    rows = []
    for hidden in options.hidden:
        with tempfile.TemporaryDirectory() as folder:
            chat, own, vllm = engines(hidden, options.tokens, options.device, Path(folder))
            prompts = prompts_of(chat, max(options.batches))
            for place, batch in enumerate(options.batches):
                first = place * (options.rounds + 1)
                row = measure(own, vllm, prompts[:batch], options.tokens, options.rounds, options.device, first)
                rows.append({"hidden": hidden, **row})
            vllm.close()
    report("Rollouts, tokens a second of processor time", rows, options.json)


if __name__ == "__main__":
    main()
