"""Recipes of tiny models: the base and teacher that ship with the project, and a base for another dataset."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from vicur.config.section import Section


class HintMix(Section):
    """Shares of the training prompts by their hint. A base that was trained on hints can be its own teacher."""

    none: float = Field(default=0.35, ge=0)
    """No hint."""
    cue: float = Field(default=0.25, ge=0)
    """The visual evidence that the question refers to."""
    answer: float = Field(default=0.15, ge=0)
    """The final answer."""
    rationale: float = Field(default=0.10, ge=0)
    """The reasoning step."""
    solution: float = Field(default=0.15, ge=0)
    """Evidence, reasoning step and answer."""


class TinySizes(Section):
    """Sizes of the model. The text backbone's head dimension is always 32."""

    hidden_size: int = Field(default=96, ge=1)
    """Hidden size of the text backbone."""
    intermediate_size: int = Field(default=256, ge=1)
    """Intermediate size of its feed-forward layers."""
    layers: int = Field(default=4, ge=1)
    """Number of decoder layers."""
    heads: int = Field(default=3, ge=1)
    """Number of attention heads. Cue recovery requires a divisor of the hidden size."""
    vision_hidden_size: int = Field(default=64, ge=1)
    """Hidden size of the vision tower."""
    vision_intermediate_size: int = Field(default=128, ge=1)
    """Intermediate size of its feed-forward layers."""
    vision_layers: int = Field(default=2, ge=1)
    """Number of blocks. The output of the first one is also added to the text backbone (DeepStack)."""
    vision_heads: int = Field(default=4, ge=1)
    """Number of attention heads."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        for prefix in ("", "vision_"):
            heads, size = getattr(self, f"{prefix}heads"), getattr(self, f"{prefix}hidden_size")
            if size % heads:
                raise ValueError(f"{prefix}heads={heads} does not divide {prefix}hidden_size={size}")
        return self


class TinyRecipe(Section):
    """Settings of every training of a tiny model from scratch."""

    seed: int = 0
    """Root seed."""
    sizes: TinySizes = TinySizes()
    """Sizes of the model."""
    vision_steps: int = Field(default=200, ge=1)
    """Supervised steps that train the vision tower before any text."""
    vision_learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of these steps, with cosine decay."""
    steps: int = Field(default=1200, ge=1)
    """Training steps of the whole model on responses."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak learning rate of these steps, with linear warmup and cosine decay."""
    warmup_steps: int = Field(default=50, ge=0)
    """Number of warmup steps."""
    batch_size: int = Field(default=32, ge=1)
    """Images or prompts per step."""
    hints: HintMix = HintMix()
    """Hints of the prompts."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay of AdamW."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Maximum norm of the gradients."""


class TinyBaseConfig(TinyRecipe):
    """Recipe of the tiny base; with other sizes, pools and steps, also of the larger model that teaches it."""

    pools: tuple[Literal["base", "distill"], ...] = Field(default=("base",), min_length=1)
    """Pools that it is trained on. The base sees the base pool only; a teacher may also see the students' training data."""
    scenes: int = Field(default=800, ge=1)
    """Number of scenes that it is trained on, the first ones of the pools. With fewer, it reads unseen handwriting less well."""
    together: int = Field(default=1, ge=1, le=6, exclude_if=lambda together: together == 1)
    """Questions combined into one prompt (``data.together``)."""
    describe_share: float = Field(default=0.2, ge=0, le=1)
    """Share of prompts whose response is a description of the whole scene. The others have the hints of ``hints``."""


class DatasetBaseConfig(TinyRecipe):
    """Recipe of a tiny base for a dataset of the user's own domain."""

    share: float = Field(default=0.5, gt=0, le=1)
    """Share of the groups of ``distill`` that it is trained on if the dataset has no split ``base``. With all of them, students have
    less left to learn."""
    max_examples: int = Field(default=20_000, ge=1)
    """Number of examples that it is trained on at most."""
    vocabulary: int = Field(default=2048, ge=300, le=50_000)
    """Tokens of the tokenizer, bytes and control tokens included. More tokens make prompts shorter and steps slower."""
    min_pixels: int = Field(default=64 * 64, ge=256)
    """Smaller images are enlarged to about this many pixels. A visual token has 16 x 16 pixels."""
    max_pixels: int = Field(default=128 * 128, ge=256)
    """Larger images are reduced to at most this many pixels: 64 visual tokens by default."""
    max_tokens: int = Field(default=1024, ge=64)
    """Longest prompt with its response, in tokens. Longer ones are left out."""
    vision_steps: int = Field(default=300, ge=1)
    """Steps that train the vision tower alone to encode colours, places and the words about an image."""
    steps: int = Field(default=1000, ge=1)
    """Training steps of the whole model on responses. With more, it leaves less for students to learn."""
    checked: int = Field(default=300, ge=1)
    """Examples that the finished base is evaluated on, with each hint."""

    @model_validator(mode="after")
    def _pixels_ascend(self) -> Self:
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels={self.min_pixels} is above max_pixels={self.max_pixels}")
        return self
