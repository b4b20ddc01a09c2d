"""Students with cue recovery in vLLM: an out-of-tree model that vLLM finds through its entry point ``vllm.general_plugins``."""

from __future__ import annotations


def register() -> None:
    """Makes students known to vLLM; it calls this in each of its processes."""
