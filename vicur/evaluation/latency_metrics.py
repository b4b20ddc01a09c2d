"""The figures of latency, apart from their measurement, which needs torch."""

from __future__ import annotations

from pydantic import BaseModel


class LatencyMetrics(BaseModel):
    """Wall time from a question to its whole response at batch size 1. Comparable on one kind of device only."""

    examples: int
    median_seconds: float
    p95_seconds: float
    """95th percentile, interpolated; with fewer than 20 examples it is close to the slowest response."""
    mean_tokens: float
    """Tokens per response."""
    device: str
    dtype: str
    threads: int
    """CPU threads of PyTorch."""
