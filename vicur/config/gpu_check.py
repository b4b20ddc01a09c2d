"""Defaults of ``vicur gpu-check``, as a command and as a step in a cluster."""

from __future__ import annotations

SECONDS = 530.0
"""Time limit."""


def default_shapes(device: str) -> tuple[str, ...]:
    """Return the models to measure on a device, ``cuda`` or ``cpu``."""
    return ("2b", "8b") if device == "cuda" else ("tiny",)
