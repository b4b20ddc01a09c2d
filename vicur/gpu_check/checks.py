"""The checks of a machine, and what each needs. A check that the machine cannot do is not checked, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from vicur.gpu_check.agreement import BF16, FLOAT32, Numbers, agree, numbers, tiny_step
from vicur.gpu_check.case import Case
from vicur.gpu_check.trainings import compare_processes, kill_and_resume
from vicur.training.world import World

Outcome = dict[str, Any]

TITLES = {
    "float32": "float32 agrees with the CPU",
    "bf16": "bf16 agrees with float32 on the CPU",
    "ddp": "DDP agrees with one process",
    "fsdp": "FSDP2 agrees with one process",
    "separate": "Teacher on another device",
    "resume": "Resume after SIGKILL",
    "vllm": "vLLM: weights and log-probs",
}
"""What each check is about, in their order. Measurements follow."""


def not_checked(reason: str) -> Outcome:
    """Return the outcome of a check that this machine cannot do."""
    return {"status": "not checked", "detail": reason}


def _float32(settings: Outcome) -> Outcome:
    if settings["device"] == "cpu":
        return not_checked("the device is the CPU itself")
    return agree(numbers("cuda", "none"), _golden(), FLOAT32)


def _bf16(settings: Outcome) -> Outcome:
    return agree(numbers(settings["device"], "bf16"), _golden(), BF16)


@cache
def _golden() -> Numbers:
    return numbers("cpu", "none")


def _distributed(settings: Outcome, strategy: str) -> Outcome:
    processes = 2 if settings["device"] == "cpu" else torch.cuda.device_count()
    if processes < 2:
        return not_checked("one GPU, and NCCL needs one for each process")
    return compare_processes(Path(settings["folder"]), settings["device"], processes, strategy)


def _resume(settings: Outcome) -> Outcome:
    return kill_and_resume(Path(settings["folder"]), settings["device"], settings["lifeline"])


def _separate(settings: Outcome) -> Outcome:
    if settings["device"] == "cpu" or torch.cuda.device_count() < 2:
        return not_checked("needs two GPUs")
    shared, apart = (tiny_step(World.single("cuda:0", teacher), {}) for teacher in ("cuda:0", "cuda:1"))
    difference = abs(apart["loss"] - shared["loss"]) / abs(shared["loss"])
    status = "passed" if difference <= 1e-4 else "failed"
    return {"status": status, "detail": f"the loss differs by {difference:.1e} from that on one device (0.0001)"}


def _vllm(settings: Outcome) -> Outcome:
    if find_spec("vllm") is None or find_spec("vicur_vllm") is None:
        return not_checked("vLLM or its plugin (serving/) is not installed")
    # The engine reports the sums of the weights that it received, which the step compares, and it limits the gap.
    device = "cuda:0" if settings["device"] == "cuda" else "cpu"
    metrics = tiny_step(World.single(device), {"engine": {"type": "vllm", "cache_gb": 1.0}})
    gaps = {name: value for name, value in metrics.items() if "engine" in name}
    shown = ", ".join(f"{name} {value:.1e}" for name, value in gaps.items())
    return {"status": "passed", "detail": f"all weights arrived; {shown} nats", "values": gaps}


def _measure(settings: Outcome) -> Outcome:
    from vicur.gpu_check.worker import measured

    return {"status": "passed", "values": measured(Case.model_validate(settings["case"]))}


RUN: dict[str, Callable[[Outcome], Outcome]] = {
    "float32": _float32,
    "bf16": _bf16,
    "ddp": lambda settings: _distributed(settings, "ddp"),
    "fsdp": lambda settings: _distributed(settings, "fsdp"),
    "separate": _separate,
    "resume": _resume,
    "vllm": _vllm,
    "measure": _measure,
}
"""Functions of the checks by name. Each takes the settings of the task and returns its outcome."""
