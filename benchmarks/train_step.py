"""A step of on-policy distillation: this project's trainer compared with TRL's GOLD trainer.

    python -m benchmarks.train_step [--hidden 96 192] [--vocab small real] [--batch-size 32] [--new-tokens 16] [--json FILE]

Requires TRL (``make bench`` builds the environment ``.venv-bench`` from ``constraints-bench.txt``). Each measurement is a process with one
CPU thread: float32, the same tiny Qwen3-VL with random weights as student and frozen teacher, all weights trained, the same questions, a
different image for each prompt, responses of a fixed length, reverse KL over the vocabulary, AdamW. With ``hint``, the teacher's prompt
contains the cue, for which GOLD is subclassed. ``trl-gold-trimmed`` is GOLD without the part of its loss that has no effect. ``vicur`` is
in a later epoch, with prepared images and cached features of the frozen teacher; in ``vicur-first-epoch`` that work is part of each step.

Phases: ``rollout`` (including preparation of the batch and the vision tower), ``teacher``, ``student`` (training forward, loss, backward,
update), ``total``. ``tokens_per_second`` is sampled tokens over the phase's time, ``peak_mb`` the process's peak of resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.reporting import report
from benchmarks.steps.case import SIZES, Case, save_checkpoint

VOCABULARIES = {"small": None, "real": 151_936}
ENGINES = {
    "vicur": ["benchmarks.steps.with_vicur"],
    "vicur-first-epoch": ["benchmarks.steps.with_vicur", "--first-epoch"],
    "trl-gold": ["benchmarks.steps.with_gold"],
    "trl-gold-trimmed": ["benchmarks.steps.with_gold", "--trimmed"],
}
PHASES = ("rollout", "teacher", "student", "total")
# Measured steps and warm-up steps. A step over a real vocabulary takes half a minute.
STEPS = {"small": (8, 2), "real": (2, 1)}

NOTES = """\
Notes on GOLD:
- Gradient checkpointing is off in both. GOLD's default, on, would also disable the KV cache in its rollouts.
- GOLD projects all positions of prompt and response to the vocabulary, for student and teacher, and computes the divergence at all of them
  before it drops the prompt. GOLD 1.16 has no setting to avoid that. trl-gold-trimmed is a small subclass that drops the prompt first.
  The difference grows with the length of the prompt.
- GOLD prepares images and prompts in each step and encodes each image three times (rollout, student, teacher). There is no setting for it.
- GOLD can use vLLM for rollouts on a GPU (use_vllm), which does not apply to this comparison on a CPU.\
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--vocab", nargs="+", default=list(VOCABULARIES), choices=list(VOCABULARIES))
    parser.add_argument("--hint", nargs="+", default=["no", "yes"], choices=["no", "yes"])
    parser.add_argument("--engine", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    options = parser.parse_args()
    rows = []
    for hidden in options.hidden:
        for name in options.vocab:
            with tempfile.TemporaryDirectory() as folder:
                vocab = save_checkpoint(Path(folder), hidden, VOCABULARIES[name])
                steps, warm_up = STEPS[name]
                for hint in options.hint:
                    case = Case(folder, hint == "yes", options.batch_size, options.new_tokens, steps, warm_up)
                    rows += _compared(case, {"hidden": hidden, "vocab": vocab, "hint": hint}, options.engine)
    title = f"A step of {options.batch_size} prompts with {options.new_tokens} new tokens each (torch {torch.__version__}, one thread)"
    report(title, rows, options.json)
    print(NOTES)


def _compared(case: Case, shared: dict[str, Any], engines: list[str]) -> list[dict[str, Any]]:
    """Return the rows of one case, with time and memory relative to this project's trainer."""
    results = {engine: _measured(case, engine) for engine in engines}
    tokens = case.batch_size * case.new_tokens
    rows = []
    for phase in PHASES:
        for engine, phases in results.items():
            seconds, peak = phases[phase]["seconds"], phases[phase]["peak_mb"]
            other = results.get("vicur", phases)[phase]
            rows.append(
                {
                    **shared,
                    "phase": phase,
                    "engine": engine,
                    "seconds": seconds,
                    "tokens_per_second": tokens / seconds,
                    "peak_mb": peak,
                    "times_vicur_seconds": seconds / other["seconds"],
                    "times_vicur_peak": peak / other["peak_mb"],
                }
            )
    return rows


def _measured(case: Case, engine: str) -> dict[str, dict[str, float]]:
    """Run the process of an engine and return its measurements by phase."""
    module, *arguments = ENGINES[engine]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "phases.json"
        quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", module, json.dumps(asdict(case)), str(out), *arguments],
            env={**os.environ, **quiet, "TRL_EXPERIMENTAL_SILENCE": "1"},
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{engine} failed:\n{done.stderr[-4000:]}")
        phases: dict[str, dict[str, float]] = json.loads(out.read_text(encoding="utf-8"))
        return phases


if __name__ == "__main__":
    main()
