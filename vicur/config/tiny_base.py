"""How the tiny base model that ships with the project is made."""

from __future__ import annotations

from pydantic import Field

from vicur.config.base import Section


class HintMix(Section):
    """Shares of the prompts that the base learns to answer, by the hint in them. A base that has met hints can be its own teacher."""

    none: float = Field(default=0.35, ge=0)
    """No hint."""
    cue: float = Field(default=0.25, ge=0)
    """The evidence that the question asks for."""
    answer: float = Field(default=0.15, ge=0)
    """The final answer."""
    rationale: float = Field(default=0.10, ge=0)
    """The step of reasoning."""
    solution: float = Field(default=0.15, ge=0)
    """Evidence, step and answer."""


class TinyBaseConfig(Section):
    """The recipe of the tiny base. It is trained on the base pool alone."""

    seed: int = 0
    """Root seed."""
    scenes: int = Field(default=800, ge=1)
    """Scenes of the base pool that it is trained on, the first ones: fewer scenes, worse reading of handwriting that it has not met."""
    vision_steps: int = Field(default=200, ge=1)
    """Supervised steps of the vision tower on digit, colour and place of each cell, before there is any text."""
    vision_learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of these steps; it falls along a cosine."""
    steps: int = Field(default=1200, ge=1)
    """Steps of the whole model on responses."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak learning rate of these steps: a linear rise, then a cosine."""
    warmup_steps: int = Field(default=50, ge=0)
    """Length of the rise."""
    batch_size: int = Field(default=32, ge=1)
    """Scenes or prompts a step."""
    describe_share: float = Field(default=0.2, ge=0, le=1)
    """Share of prompts that ask for a description of the whole scene."""
    hints: HintMix = HintMix()
    """Hints of the other prompts."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Norm that gradients are clipped to."""
