"""Phases of a run and parts of a GPU's memory."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Phase of a training, or of the evaluation after it."""

    LOAD = "load"
    ROLLOUT = "rollout"
    TEACHER = "teacher"
    UPDATE = "update"
    OPTIMIZER = "optimizer"
    VALIDATION = "validation"
    EVALUATION = "evaluation"


class Part(StrEnum):
    """Part of the memory of a GPU."""

    WEIGHTS = "weights"
    COPIES = "weights in the computing type"
    GRADIENTS = "gradients"
    OPTIMIZER = "optimizer"
    EMA = "EMA"
    TEACHER = "teacher"
    VLLM = "vLLM in the process"
    ACTIVATIONS = "activations"
    VISION = "vision tower"
    FEATURES = "image features"
    KV_CACHE = "KV cache"
    LOSS = "logits and loss tiles"


Memory = dict[Phase, dict[Part, int]]
"""Bytes by phase and part. Parts of 0 bytes are left out."""


def peak(memory: Memory) -> tuple[Phase, int]:
    """Return the phase with the most memory, and its bytes."""
    totals = {phase: sum(parts.values()) for phase, parts in memory.items()}
    highest = max(totals, key=lambda phase: totals[phase])
    return highest, totals[highest]


def nonzero(parts: dict[Part, int]) -> dict[Part, int]:
    """Return the parts that are not 0, in their order."""
    return {part: size for part, size in sorted(parts.items(), key=lambda item: list(Part).index(item[0])) if size}
