"""Rollout engines: the trained model itself, or vLLM with its weights."""

from vicur.training.rollout.engine import RolloutEngine, TransformersEngine

__all__ = ["RolloutEngine", "TransformersEngine"]
