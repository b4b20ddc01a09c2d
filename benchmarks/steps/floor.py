"""The least time that the update of a step takes on this machine: its arithmetic at the measured rate of matrix products and of memory.

Counted are the products that no implementation avoids: logits of student and teacher at the positions of the responses and both gradients
of the student's (8 T H V operations for T tokens), and the student's layers forward and backward over prompts and responses (6 operations a
weight and token). To this comes the memory that AdamW reads and writes: weight, gradient and two moments read, three of them written. The
vision tower, attention, the exponentials of the softmax and everything else that is not a product are left out.
"""

from __future__ import annotations

import time

import torch

_GEMM = 1024
_STREAM = 1 << 25  # floats; far larger than the caches
_ROUNDS = 9
_ADAMW_BYTES = 7 * 4  # for each weight


def gemm_rate() -> float:
    """Measure the rate of float32 matrix products with one thread, in operations a second."""
    left, right = torch.randn(_GEMM, _GEMM), torch.randn(_GEMM, _GEMM)
    out = torch.empty(_GEMM, _GEMM)
    return 2 * _GEMM**3 / _fastest(lambda: torch.mm(left, right, out=out))


def bandwidth() -> float:
    """Measure the bytes a second that a sum of two arrays into a third reads and writes, with one thread."""
    left, right, out = (torch.ones(_STREAM) for _ in range(3))
    return 3 * 4 * _STREAM / _fastest(lambda: torch.add(left, right, out=out))


def update_floor(tokens: int, context: int, hidden: int, vocab: int, weights: int, trained: int) -> tuple[float, float]:
    """Return operations and bytes of an update.

    Args:
        tokens: response tokens of the batch.
        context: tokens of prompts and responses.
        weights: weights of the student's decoder layers.
        trained: all trained weights.
    """
    return 8.0 * tokens * hidden * vocab + 6.0 * weights * context, float(_ADAMW_BYTES * trained)


def _fastest(work: object) -> float:
    assert callable(work)
    times = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)
