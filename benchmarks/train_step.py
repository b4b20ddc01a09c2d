"""A step of on-policy distillation: this project's trainer against TRL's GOLD trainer, on the same work.

    python -m benchmarks.train_step [--hidden 96 192] [--vocab small real] [--batch-size 32] [--new-tokens 16] [--json FILE]

Needs TRL in its environment (``make bench`` builds one, ``.venv-bench``, from ``constraints-bench.txt``). Both engines run in it, each
measurement in a process of its own on one thread of a CPU: float32, the same tiny Qwen3-VL with random weights as student and as frozen
teacher, everything trained, the same questions and images, responses of one forced length, reverse KL over the vocabulary, AdamW.
``hint`` no: the teacher reads the student's prompt; yes: one with the cue, for which GOLD is subclassed. ``trl-gold-trimmed`` is a subclass
too: GOLD without the part of its loss that comes to nothing. Each prompt has an image of its own. ``vicur`` is in an epoch in which it has
met the images before: they are prepared, and it knows what the frozen teacher's tower makes of them. In ``vicur-first-epoch`` that work is
a part of each step.

Phases: ``rollout`` (with preparing the batch and the pass of the vision tower), ``teacher`` (its scores), ``student`` (training forward,
loss, backward, update), ``total``. ``tokens_per_second`` are sampled tokens over the phase's time, ``peak_mb`` is what the process holds
at most during it, Python and its libraries included.
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
# Of a step that takes half a minute, a few are enough.
STEPS = {"small": (8, 2), "real": (2, 1)}

NOTES = """\
What is GOLD's choice and what is not:
- gradient checkpointing is switched off in both. GOLD's default, on, also turns the KV cache off in its rollouts.
- GOLD projects every position of prompt and response to the vocabulary, for student and teacher, and takes the divergence at all of them
  before it leaves out the prompt. No setting of GOLD 1.16 changes that; trl-gold-trimmed is a subclass that cuts the prompt off before the
  divergence, in a few lines. The longer the prompt beside the response, the more that is.
- GOLD prepares images and prompts anew at each step and encodes each image three times (rollout, student, teacher); no setting either.
- GOLD offers vLLM for rollouts on a GPU (use_vllm), which this comparison on a CPU leaves out.\
"""


def main() -> None:
    """Measures and prints the table."""
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
    """Rows of one case: engine by engine, phase by phase, with GOLD's time and memory over this project's where both were measured."""
    made = {engine: _measured(case, engine) for engine in engines}
    tokens = case.batch_size * case.new_tokens
    rows = []
    for phase in PHASES:
        for engine, phases in made.items():
            seconds, peak = phases[phase]["seconds"], phases[phase]["peak_mb"]
            other = made.get("vicur", phases)[phase]
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
    """What an engine's process measured, by phase."""
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
        made: dict[str, dict[str, float]] = json.loads(out.read_text(encoding="utf-8"))
        return made


if __name__ == "__main__":
    main()
