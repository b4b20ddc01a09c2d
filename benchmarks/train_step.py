"""A step of on-policy distillation: this project's trainer compared with TRL's DistillationTrainer and GOLD.

    python -m benchmarks.train_step [--hidden 96 192] [--vocab small real] [--engine vicur trl-distillation]
        [--runs 5] [--once trl-gold] [--json FILE]

Requires TRL (``make bench`` builds the environment ``.venv-bench`` from ``constraints-bench.txt``). Each measurement is a process with one
CPU thread: float32, the same tiny Qwen3-VL with random weights as student and frozen teacher, all weights trained, the same questions, a
different image for each prompt, responses of a fixed length, reverse KL over the vocabulary, AdamW. With ``hint``, the teacher's prompt
contains the cue, for which GOLD is subclassed. ``trl-gold-trimmed`` is GOLD without the part of its loss that has no effect. ``vicur`` is
in a later epoch, with prepared images and cached features of the frozen teacher; in ``vicur-first-epoch`` that work is part of each step.

The engines take turns, and each row has the medians of ``--runs`` such rounds; engines named in ``--once`` run in the first one only.
Phases: ``rollout`` (including preparation of the batch and the vision tower), ``teacher``, ``student`` (training forward, loss, backward,
update), ``total``. ``tokens_per_second`` is sampled tokens over the phase's processor time, ``peak_mb`` the process's peak of resident
memory, ``extra_mb`` the part of it above what is loaded: interpreter, weights, gradients and the optimizer's state. ``floor_share`` of
``student`` is the time that its arithmetic takes at the rates of matrix products and memory measured before (benchmarks/steps/floor.py),
over the time of the phase.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, Qwen3VLForConditionalGeneration

from benchmarks.reporting import report
from benchmarks.steps import floor
from benchmarks.steps.case import SIZES, Case, EndlessChat, questions, save_checkpoint
from benchmarks.steps.measured import Phases, measured

VOCABULARIES = {"small": None, "real": 151_936}
ENGINES = {
    "vicur": ["benchmarks.steps.with_vicur"],
    "vicur-first-epoch": ["benchmarks.steps.with_vicur", "--first-epoch"],
    "trl-distillation": ["benchmarks.steps.with_distillation"],
    "trl-gold": ["benchmarks.steps.with_gold"],
    "trl-gold-trimmed": ["benchmarks.steps.with_gold", "--trimmed"],
}
PHASES = ("rollout", "teacher", "student", "total")
# Measured steps and warm-up steps of each run. A step over a real vocabulary takes up to 20 seconds.
STEPS = {"small": (8, 2), "real": (1, 1)}

NOTES = """\
Notes on TRL:
- DistillationTrainer keeps hidden states and computes the divergence in tiles: with Triton on a GPU, with plain PyTorch on a CPU. It
  projects the teacher's hidden states together with the student's, so that time is part of ``student``, as it is in vicur.
- Gradient checkpointing is off in all. TRL's default, on, would also disable the KV cache in its rollouts.
- GOLD projects all positions of prompt and response to the vocabulary, for student and teacher, and computes the divergence at all of them
  before it drops the prompt. GOLD 1.16 has no setting to avoid that. trl-gold-trimmed is a small subclass that drops the prompt first.
  The difference grows with the length of the prompt.
- Both prepare images and prompts in each step and encode each image three times (rollout, student, teacher). There is no setting for it.
- Both can use vLLM for rollouts on a GPU (use_vllm), which does not apply to this comparison on a CPU.\
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--vocab", nargs="+", default=list(VOCABULARIES), choices=list(VOCABULARIES))
    parser.add_argument("--hint", nargs="+", default=["no", "yes"], choices=["no", "yes"])
    parser.add_argument("--engine", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5, help="rounds in which each engine runs once (default: 5)")
    parser.add_argument(
        "--once", nargs="+", default=[], choices=list(ENGINES), help="engines that run in the first round only"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    rates = floor.gemm_rate(), floor.bandwidth()
    for hidden in options.hidden:
        for name in options.vocab:
            with tempfile.TemporaryDirectory() as folder:
                vocab = save_checkpoint(Path(folder), hidden, VOCABULARIES[name])
                steps, warm_up = STEPS[name]
                for hint in options.hint:
                    case = Case(folder, hint == "yes", options.batch_size, options.new_tokens, steps, warm_up)
                    least = _update_floor(case, hidden, rates)
                    shared = {"hidden": hidden, "vocab": vocab, "hint": hint}
                    runs = {engine: 1 if engine in options.once else options.runs for engine in options.engine}
                    rows += _compared(case, shared, runs, least)
                    if options.json is not None:  # a complete comparison takes an hour
                        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    title = (
        f"A step of {options.batch_size} prompts with {options.new_tokens} new tokens each, one thread, medians of the runs"
        f" ({', '.join(f'{name} {version(name)}' for name in ('torch', 'transformers', 'trl'))};"
        f" {rates[0] / 1e9:.0f} GFLOP/s, {rates[1] / 1e9:.1f} GB/s)"
    )
    report(title, rows, options.json)
    print(NOTES)


def _update_floor(case: Case, hidden: int, rates: tuple[float, float]) -> float:
    """Return the least seconds of the phase ``student``."""
    config = AutoConfig.from_pretrained(case.folder)
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config)
    layers = sum(each.numel() for each in model.model.language_model.layers.parameters())
    trained = sum(each.numel() for each in model.parameters())
    chat = EndlessChat.load(Path(case.folder))
    prompts = [
        chat.prompt(chat.content(example), [chat.pixels(image) for image in example.images])
        for example in questions(case.batch_size)
    ]
    tokens = case.batch_size * case.new_tokens
    context = sum(len(prompt.ids) for prompt in prompts) + tokens
    operations, moved = floor.update_floor(tokens, context, hidden, config.text_config.vocab_size, layers, trained)
    return operations / rates[0] + moved / rates[1]


def _compared(case: Case, shared: dict[str, Any], runs: dict[str, int], least: float) -> list[dict[str, Any]]:
    """Return the rows of one case, with time and memory relative to this project's trainer."""
    results: dict[str, list[Phases]] = {engine: [] for engine in runs}
    for number in range(max(runs.values())):
        for engine, count in runs.items():
            if number < count:
                module, *arguments = ENGINES[engine]
                results[engine].append(measured(case, module, arguments))
    medians = {engine: _medians(each) for engine, each in results.items()}
    tokens = case.batch_size * case.new_tokens
    rows = []
    for phase in PHASES:
        for engine, phases in medians.items():
            figures = phases[phase]
            seconds = figures["seconds"]
            other = medians.get("vicur", phases)[phase]
            rows.append(
                {
                    **shared,
                    "phase": phase,
                    "engine": engine,
                    "runs": runs[engine],
                    "seconds": seconds,
                    "tokens_per_second": tokens / seconds,
                    "peak_mb": figures["peak_mb"],
                    "extra_mb": figures["extra_mb"],
                    "times_vicur_seconds": seconds / other["seconds"],
                    "times_vicur_extra": figures["extra_mb"] / other["extra_mb"] if other["extra_mb"] > 0 else "",
                    "floor_share": least / seconds if phase == "student" else "",
                }
            )
    return rows


def _medians(runs: list[Phases]) -> Phases:
    return {
        phase: {name: statistics.median(run[phase][name] for run in runs) for name in runs[0][phase]}
        for phase in PHASES
    }


if __name__ == "__main__":
    main()
