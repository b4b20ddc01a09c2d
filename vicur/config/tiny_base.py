"""How the tiny base model that ships with the project is made."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from vicur.config.section import Section


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


class TinySizes(Section):
    """Sizes of the model. Heads of the text backbone are 32 wide, whatever the hidden size."""

    hidden_size: int = Field(default=96, ge=1)
    """Width of the text backbone."""
    intermediate_size: int = Field(default=256, ge=1)
    """Width inside its feed-forward layers."""
    layers: int = Field(default=4, ge=1)
    """Its decoder layers."""
    heads: int = Field(default=3, ge=1)
    """Its attention heads; a divisor of the hidden size, as cue recovery asks for."""
    vision_hidden_size: int = Field(default=64, ge=1)
    """Width of the vision tower."""
    vision_intermediate_size: int = Field(default=128, ge=1)
    """Width inside its feed-forward layers."""
    vision_layers: int = Field(default=2, ge=1)
    """Its blocks. What the first one sees goes into the text backbone too."""
    vision_heads: int = Field(default=4, ge=1)
    """Its attention heads."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        for what, size, heads in (
            ("heads", self.hidden_size, self.heads),
            ("vision_heads", self.vision_hidden_size, self.vision_heads),
        ):
            if size % heads:
                raise ValueError(f"{heads} {what} do not divide {size}")
        return self


class TinyBaseConfig(Section):
    """The recipe of the tiny base, and with other sizes, pools and steps that of a larger model to teach it."""

    seed: int = 0
    """Root seed."""
    sizes: TinySizes = TinySizes()
    """Sizes of the model."""
    pools: tuple[Literal["base", "distill"], ...] = Field(default=("base",), min_length=1)
    """Pools that it is trained on. The base knows the base pool alone; a teacher may know what students are distilled on."""
    scenes: int = Field(default=800, ge=1)
    """Scenes of the pools that it is trained on, the first ones: fewer scenes, worse reading of handwriting that it has not met."""
    together: int = Field(default=1, ge=1, le=6, exclude_if=lambda together: together == 1)
    """Questions that are asked at once (``data.together``)."""
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
