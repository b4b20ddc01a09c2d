"""Peak memory of real trainings on a CPU beside that of their plan, in several placements.

    python -m benchmarks.plan_memory [--placement NAME ...] [--shape wide] [--json FILE]

Each placement is a training in its own process (or two, with gloo): a model of 13 million random weights, three steps of 4 prompts of 160
tokens (64 of them visual) with responses of 64 tokens, and a validation. Measured is the largest resident set of each phase above that
before the models were loaded, with ``MALLOC_MMAP_THRESHOLD_`` set so that freed tensors leave it. Of two processes, rank 0 is shown.

On a CPU, a process holds both devices of a teacher on another device, so what is planned for each is added.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.reporting import report
from vicur.gpu_check.case import Case
from vicur.gpu_check.models import SHAPES, save_random
from vicur.gpu_check.processes import in_processes

_LORA = {"trained": {"type": "lora"}, "teacher": {"type": "self-adapter-off"}}
PLACEMENTS: dict[str, tuple[int, dict[str, Any]]] = {
    "one process": (1, {}),
    "gradient checkpointing": (1, {"gradient_checkpointing": True, "micro_batch_size": 2}),
    "EMA teacher": (1, {"teacher": {"type": "self-ema"}}),
    "LoRA, adapter-off teacher": (1, _LORA),
    "teacher on another device": (1, {"distribution": {"teacher_devices": "separate"}}),
    "DDP, 2 processes": (2, {"distribution": {"strategy": "ddp"}}),
    "FSDP2, 2 processes": (2, {"distribution": {"strategy": "fsdp"}}),
}
# Seconds that a measurement may take.
_LIMIT = 1200.0


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
    # DDP allocates its buckets of gradients anew after the first step, and their pages are there once the second has written them.
    return Case(
        shape=shape, folder=folder, device="cpu", processes=processes, prompt=160, response=64, image=64, rows=4, validation=8, steps=1,
        warm_up=2, training=training,
    )  # fmt: skip


def measure_apart(case: Case) -> dict[str, Any]:
    """Measure a case in processes of its own."""
    with tempfile.TemporaryDirectory() as folder:
        task, deadline = {"device": case.device, "case": case.model_dump(mode="json")}, time.monotonic() + _LIMIT
        [record] = in_processes(["measure"], task, Path(folder), deadline, case.processes)
        if record["status"] != "passed":
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
