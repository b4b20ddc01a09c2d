"""Small real trainings of the tiny base by the training stage: distributed, and killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load_file

from vicur.config.base import BaseModelConfig
from vicur.config.cues import AnnotationCues, CuesConfig
from vicur.config.data import DigitScenesConfig, Pool
from vicur.config.training import TrainConfig
from vicur.cues import EXTRACT
from vicur.data import PREPARE
from vicur.processes.lifeline import watch
from vicur.stage.runner import Session, execute
from vicur.tracking.tracker import Tracker
from vicur.training import TRAIN, trainer
from vicur.training.step import training_step

_STEPS = 4
# Relative difference of loss and gradient norm between one process and several: sums in another order.
_TOLERANCE = 1e-3
# Of a weight after a resumed training on a GPU, some of whose kernels add in any order. On a CPU weights are equal bit for bit.
_RESUMED = 1e-5
_POOL = Pool(digits_per_class=2, scenes=4)
_SCENES = DigitScenesConfig(
    base=_POOL, distill=Pool(digits_per_class=4, scenes=8), validation=_POOL, test=_POOL, ood=_POOL
)


def config(device: str, rows: int, processes: int = 1, strategy: str = "ddp") -> TrainConfig:
    """Return the settings of a training of ``rows`` prompts a step, over all processes."""
    return TrainConfig.model_validate(
        {
            "method": "vicur",
            "steps": _STEPS,
            "batch_size": rows,
            "validate_every": 2,
            "checkpoint_every": 1,
            "validation_examples": 4,
            "rollout": {"max_new_tokens": 6},
            "device": device,
            "distribution": {"processes": processes, "strategy": strategy},
        }
    )


def train(root: Path, name: str, settings: TrainConfig) -> Path:
    """Train below ``root``, with a dataset that is prepared there once, and return the student's folder."""
    session = Session("gpu-check", 0, None, root / f"scratch-{name}", lambda _: Tracker())
    if not (root / "cues").exists():
        execute(PREPARE, _SCENES, {}, root / "dataset", session)
        execute(EXTRACT, CuesConfig(provider=AnnotationCues()), {"dataset": root / "dataset"}, root / "cues", session)
    inputs = {"base": BaseModelConfig().folder, "dataset": root / "dataset", "cues": root / "cues"}
    execute(TRAIN, settings, inputs, root / name, session)
    return root / name


def compare_processes(root: Path, device: str, processes: int, strategy: str) -> dict[str, Any]:
    """Train in one and in several processes, and compare losses and gradient norms of all steps."""
    rows = 4 * processes
    alone = root / f"alone-{rows}"
    if not alone.exists():
        train(root, alone.name, config(device, rows))
    together = train(root, strategy, config(device, rows, processes, strategy))
    pairs = list(zip(_steps(alone), _steps(together), strict=True))
    largest = max(abs(a[key] - b[key]) / abs(a[key]) for a, b in pairs for key in ("loss", "gradient_norm"))
    status = "passed" if largest <= _TOLERANCE else "failed"
    backend = "NCCL" if device == "cuda" else "gloo"
    detail = f"{processes} processes over {backend}: loss and gradient norm differ by {largest:.1e} from one process ({_TOLERANCE:g})"
    return {"status": status, "detail": detail, "values": {"difference": largest, "processes": processes}}


def kill_and_resume(root: Path, device: str, lifeline: str) -> dict[str, Any]:
    """Kill a training with SIGKILL, resume it, and compare its student with that of an uninterrupted one.

    Args:
        lifeline: file whose release ends the training to kill, too.
    """
    whole = train(root, "whole", config(device, 4))
    command = [sys.executable, "-m", "vicur.gpu_check.trainings", str(root), device, lifeline]
    killed = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if killed.returncode != -signal.SIGKILL:
        return {
            "status": "failed",
            "detail": f"the training to kill ended with {killed.returncode}: {killed.stderr[-300:]}",
        }
    made: list[int] = []
    with _each_step(made.append):
        resumed = train(root, "killed", config(device, 4))
    if made[0] == 0:
        return {"status": "failed", "detail": "the training started anew: it found no checkpoint"}
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, resumed))
    largest = max(float((one[name].float() - other[name].float()).abs().max()) for name in one)
    equal = all(torch.equal(one[name], other[name]) for name in one)
    detail = f"killed in step {_STEPS}, resumed after step {made[0]}: " + (
        "all weights are equal bit for bit" if equal else f"weights differ by {largest:.1e} at most ({_RESUMED:g})"
    )
    passed = equal or (device == "cuda" and largest <= _RESUMED)
    return {"status": "passed" if passed else "failed", "detail": detail, "values": {"difference": largest}}


def _steps(student: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (student / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [record for record in records if "loss" in record]


@contextmanager
def _each_step(call: Callable[[int], None]) -> Iterator[None]:
    """Call ``call`` with the number of each step before it is made."""
    original = training_step

    def step(state: Any, rows: Any, number: int) -> dict[str, float]:
        call(number)
        return original(state, rows, number)

    with patch.object(trainer, "training_step", step):
        yield


def _kill_in_last(number: int) -> None:
    if number == _STEPS - 1:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    torch.set_num_threads(1)
    watch(Path(sys.argv[3]), lambda: os._exit(1))
    with _each_step(_kill_in_last):
        train(Path(sys.argv[1]), "killed", config(sys.argv[2], 4))
