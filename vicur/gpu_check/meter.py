"""Seconds and peak memory of the phases of a step, on a GPU or a CPU."""

from __future__ import annotations

import gc
import time
from collections import defaultdict

import torch

from vicur.processes.resident_memory import peak_resident_bytes, reset_peak, resident_bytes


class Meter:
    """Records wall-clock time and peak memory by phase.

    On a GPU, memory is what PyTorch's allocator holds. On a CPU it is the resident set above that of :meth:`zero`: that of tensors, if
    ``MALLOC_MMAP_THRESHOLD_`` makes the C library return freed memory at once.

    Attributes:
        seconds: by phase, summed.
        peaks: largest number of bytes by phase.
    """

    def __init__(self, device: str) -> None:
        self._gpu = device == "cuda"
        self._zero = 0
        self._last = 0.0
        self.seconds: dict[str, float] = defaultdict(float)
        self.peaks: dict[str, int] = defaultdict(int)

    def zero(self) -> None:
        """Take what the process holds now as nothing."""
        gc.collect()
        self._zero = 0 if self._gpu else resident_bytes()
        self.begin()

    def begin(self) -> None:
        """Begin a phase."""
        if self._gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        else:
            reset_peak()
        self._last = time.perf_counter()

    def end(self, phase: str) -> None:
        """Count time and peak since the last call for ``phase``, which may have several parts."""
        if self._gpu:
            torch.cuda.synchronize()
        self.seconds[phase] += time.perf_counter() - self._last
        peak = torch.cuda.max_memory_allocated() if self._gpu else peak_resident_bytes() - self._zero
        self.peaks[phase] = max(self.peaks[phase], peak)
        self.begin()

    def forget_seconds(self) -> None:
        """Drop the times so far, which were those of a warm-up."""
        self.seconds.clear()
