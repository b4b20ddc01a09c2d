"""Peak memory of real trainings on a CPU beside that of their plan, in several placements.

    python -m benchmarks.plan_memory [--placement NAME ...] [--shape wide] [--json FILE]

Each placement is a training in its own process (or two, with gloo): a model of 13 million random weights, two steps of 4 prompts of 160
tokens (64 of them visual) with responses of 64 tokens, and a validation. Measured is the largest resident set of each phase above that
before the models were loaded, with ``MALLOC_MMAP_THRESHOLD_`` set so that freed tensors leave it. Of two processes, rank 0 is shown.

A teacher on a device of its own cannot be measured on a CPU: student and teacher share the process there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.reporting import report
from vicur.gpu_check.case import Case
from vicur.gpu_check.models import SHAPES, save_random

_LORA = {"trained": {"type": "lora"}, "teacher": {"type": "self-adapter-off"}}
PLACEMENTS: dict[str, tuple[int, dict[str, Any]]] = {
    "one process": (1, {}),
    "gradient checkpointing": (1, {"gradient_checkpointing": True, "micro_batch_size": 2}),
    "EMA teacher": (1, {"teacher": {"type": "self-ema"}}),
    "LoRA, adapter-off teacher": (1, _LORA),
    "DDP, 2 processes": (2, {"distribution": {"strategy": "ddp"}}),
    "FSDP2, 2 processes": (2, {"distribution": {"strategy": "fsdp"}}),
}
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # Fixed thresholds: tensors of 64 KB and more get pages of their own, which are returned when they are freed.
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
    "HF_HUB_OFFLINE": "1",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--placement", nargs="+", default=list(PLACEMENTS), choices=list(PLACEMENTS))
    parser.add_argument("--shape", default="wide", choices=SHAPES)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        save_random(Path(folder), options.shape, "cpu", torch.float32, 1024)
        for name in options.placement:
            processes, training = PLACEMENTS[name]
            rows += rows_of(name, measure_apart(case_of(Path(folder), options.shape, processes, training)))
            print(f"{name}: {rows[-1]['measured']:.0f} MB measured, {rows[-1]['planned']:.0f} MB planned", flush=True)
    report("Peak memory in MB", rows, options.json)


def case_of(folder: Path, shape: str, processes: int, training: dict[str, Any]) -> Case:
    """Return the measurement of a placement."""
    return Case(
        shape=shape, folder=folder, device="cpu", processes=processes, prompt=160, response=64, image=64, rows=4, validation=8, steps=1,
        warm_up=1, training=training,
    )  # fmt: skip


def measure_apart(case: Case) -> dict[str, Any]:
    """Measure a case in processes of its own."""
    with tempfile.TemporaryDirectory() as folder:
        task, results = Path(folder) / "task.json", Path(folder) / "results.jsonl"
        task.write_text(json.dumps({"checks": ["measure"], "case": case.model_dump(mode="json")}), encoding="utf-8")
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={case.processes}"]
        command = [sys.executable, *(launcher if case.processes > 1 else []), "-m", "vicur.gpu_check.worker"]
        done = subprocess.run(
            [*command, str(task), str(results)],
            env={**os.environ, **_ENVIRONMENT},
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if not results.exists():
            raise SystemExit(done.stderr[-6000:])
        record: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
        if record["status"] == "failed":
            raise SystemExit(record["detail"])
        values: dict[str, Any] = record["values"]
        return values


def rows_of(placement: str, measured: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each phase, and one for the peak of all."""
    pairs = {phase: (measured["peaks"][phase], planned) for phase, planned in measured["planned"].items()}
    pairs["peak"] = (max(m for m, _ in pairs.values()), max(p for _, p in pairs.values()))
    return [
        {
            "placement": placement,
            "phase": phase,
            "measured": measured_bytes / 1e6,
            "planned": planned / 1e6,
            "ratio": planned / measured_bytes,
        }
        for phase, (measured_bytes, planned) in pairs.items()
    ]


if __name__ == "__main__":
    main()
