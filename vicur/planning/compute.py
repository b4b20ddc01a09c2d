"""Estimate the operations and the time of a training step.

Operations count multiplications and additions: 2 per weight and token, as in Kaplan et al. (arXiv 2001.08361, section 2.1), plus 4 T^2 D
per attention head over T tokens (scores and weighted sum, without a discount for causality because kernels that take a padding mask
compute the whole square). A backward pass costs two forward passes, or one if the weights are frozen and only hidden states need
gradients. Gradient checkpointing adds one forward pass of the layers. The output layer is applied to response tokens only.

Matrix products run at ``utilisation`` of the peak. Decoding is bound by memory bandwidth: each step reads the weights and the KV cache of
every unfinished row once, at ``bandwidth_utilisation``, and takes at least ``decode_overhead_ms``. A batch decodes until its longest
response ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vicur.planning.architecture import Architecture
from vicur.planning.inputs import PlanInput
from vicur.planning.model import Models, compute_bytes, student_precision, trained_parameters
from vicur.planning.sizes import Sizes

_FLOAT32 = torch.float32.itemsize
# AdamW reads the weight, the gradient and two moments, and writes the weight and both moments.
_OPTIMIZER_PASSES = 7
# Matrix products with the output layer in the loss. For a token's log-probability: logits, the same logits recomputed in the backward, and
# two gradients. For a divergence: logits of both models and two gradients. One less if the output layer is frozen.
_LOSS_PRODUCTS = 4


@dataclass(frozen=True)
class Lengths:
    """Sequence lengths in tokens that the time is estimated for."""

    prompt: int  # mean
    response: int  # mean
    longest: int  # longest response, which determines how long a batch decodes


@dataclass(frozen=True)
class Work:
    """Operations of one step, summed over all GPUs."""

    vision: float  # image encoding, and the backward pass of a trained tower
    rollout: float  # prefill and decoding
    teacher: float  # scoring
    forward: float  # of the student, including what gradient checkpointing recomputes
    backward: float
    loss: float  # products with the output layer, forward and backward

    @property
    def total(self) -> float:
        return self.vision + self.rollout + self.teacher + self.forward + self.backward + self.loss


@dataclass(frozen=True)
class Seconds:
    """Seconds of each phase of a step, and of one validation."""

    vision: float
    rollout: float
    teacher: float
    update: float
    validation: float
    overlaps: bool = False  # whether servers sample rollouts while the other phases run

    @property
    def step(self) -> float:
        """Seconds of a step without validation."""
        # Teacher and student do not overlap, even on separate GPUs.
        others = self.vision + self.teacher + self.update
        return max(self.rollout, others) if self.overlaps else self.rollout + others


def expected_lengths(plan: PlanInput) -> Lengths:
    """Return the plan's mean lengths, or half of the maximum if they are not set."""
    prompt = plan.mean_prompt_tokens or max(plan.visual_tokens, -(-plan.max_prompt_tokens // 2))
    response = plan.mean_response_tokens or -(-plan.max_response_tokens // 2)
    return Lengths(prompt, response, plan.max_response_tokens)


def longest_lengths(plan: PlanInput) -> Lengths:
    """Return the maximum lengths, for an upper bound."""
    return Lengths(plan.max_prompt_tokens, plan.max_response_tokens, plan.max_response_tokens)


def validations(steps: int, every: int) -> int:
    """Return how often a run of ``steps`` validates."""
    # Before the first update, after every ``every`` steps and after the last step.
    return 1 + -(-steps // every)


def text_flops(model: Architecture, sizes: Sizes, tokens: float) -> float:
    """Return the operations of the decoder layers for one sequence."""
    text = model.text
    attention = 4 * tokens**2 * text.num_attention_heads * model.head_dim
    return float(sizes.text_layers * (2 * sizes.text_linear * tokens + attention))


def head_flops(model: Architecture, tokens: float) -> float:
    """Return the operations of the output layer for ``tokens`` tokens."""
    text = model.text
    return float(2 * text.hidden_size * text.vocab_size * tokens)


def recovery_flops(plan: PlanInput, model: Architecture) -> float:
    """Return the operations of all cue recovery modules for one sequence: four projections of the sink token, and two products with the
    visual tokens per head (``vicur.modeling.recovery``)."""
    if plan.recovery is None or not plan.visual_tokens:
        return 0.0
    text = model.text
    heads = plan.recovery.num_heads or text.num_attention_heads
    modules = len(plan.recovery.layers(text.num_hidden_layers))
    return float(modules * (8 * text.hidden_size**2 + 4 * heads * plan.visual_tokens * text.hidden_size))


def vision_flops(plan: PlanInput, model: Architecture, sizes: Sizes) -> float:
    """Return the operations of the vision tower for the image of one prompt."""
    vision = model.vision
    patches = plan.visual_tokens * vision.spatial_merge_size**2
    blocks = sizes.vision_blocks * (2 * sizes.vision_block * patches + 4 * patches**2 * vision.hidden_size)
    # The blocks run per patch, the mergers and the other layers per visual token.
    return float(blocks + 2 * (sizes.vision - sizes.vision_blocks * sizes.vision_block) * plan.visual_tokens)


def step_work(plan: PlanInput, models: Models, lengths: Lengths) -> Work:
    """Return the operations of one step."""
    student, sizes, rows = models.student, models.sizes, plan.sequences
    tokens = lengths.prompt + lengths.response
    forward = text_flops(student, sizes, tokens) + recovery_flops(plan, student)
    image = vision_flops(plan, student, sizes)
    repeated = 2 if plan.gradient_checkpointing else 1
    # A frozen tower encodes each image once per run and caches the features. The teacher's tower is not counted: it works in the first
    # epoch only.
    encoded = image * plan.batch_size * (plan.updates * (repeated + 2) if plan.train_vision else 1)
    backward = 2 if plan.trained == "full" else 1
    teacher = 0.0
    if models.teacher_sizes is not None:
        teacher = text_flops(models.teacher, models.teacher_sizes, tokens)
        if not plan.whole_vocabulary:
            teacher += head_flops(models.teacher, lengths.response)
    products = _LOSS_PRODUCTS if plan.trained == "full" else _LOSS_PRODUCTS - 1
    loss = products * head_flops(student, lengths.response)
    return Work(
        vision=encoded,
        rollout=rows * (forward + head_flops(student, lengths.response)) if plan.on_policy else 0.0,
        teacher=rows * teacher,
        forward=plan.updates * rows * repeated * forward,
        backward=plan.updates * rows * backward * forward,
        loss=plan.updates * rows * loss,
    )


def step_seconds(plan: PlanInput, models: Models, lengths: Lengths) -> Seconds:
    """Return the seconds of each phase of a step."""
    work = step_work(plan, models, lengths)
    rate = _operations_per_second(plan)
    computing = (work.forward + work.backward + work.loss) / (rate * plan.gpus)
    validation_rows = -(-plan.validation_examples // plan.gpus)
    return Seconds(
        vision=work.vision / (rate * plan.gpus),
        rollout=_generation_seconds(plan, models, lengths, plan.sequences_a_gpu) if plan.on_policy else 0.0,
        teacher=work.teacher / (rate * (plan.teacher_gpus or plan.gpus)),
        # Communication overlaps with the computation.
        update=max(computing, plan.updates * _communication_seconds(plan, models.sizes))
        + plan.updates * _optimizer_seconds(plan, models.sizes),
        validation=_generation_seconds(plan, models, lengths, validation_rows) if plan.validation_examples else 0.0,
        overlaps=plan.overlaps,
    )


def _operations_per_second(plan: PlanInput) -> float:
    hardware = plan.hardware
    share = 1.0 if plan.mixed_precision == "bf16" else hardware.float32_share
    return hardware.peak_tflops * 1e12 * hardware.utilisation * share


def _generation_seconds(plan: PlanInput, models: Models, lengths: Lengths, rows: int) -> float:
    """Seconds that a GPU takes to generate ``rows`` responses, batch by batch."""
    hardware, text = plan.hardware, models.student.text
    batches = -(-rows // plan.rollout_batch)
    prefill = rows * text_flops(models.student, models.sizes, lengths.prompt) / _operations_per_second(plan)
    speed = hardware.bandwidth * 1e12 * hardware.bandwidth_utilisation
    number = compute_bytes(plan)
    # Under autocast every forward reads the float32 weights, writes the bfloat16 copy and reads that copy.
    passes = _FLOAT32 + 2 * number if student_precision(plan).autocast else number
    weights = batches * lengths.longest * (models.sizes.total - models.sizes.vision) * passes
    numbers = 2 * text.num_hidden_layers * models.student.key_value_heads * models.student.head_dim
    token = numbers * (_FLOAT32 if student_precision(plan).autocast else number)
    # The cache of a row grows from the prompt to prompt + response, so a step reads prompt + response / 2 tokens on average.
    cached = rows * lengths.response * (lengths.prompt + lengths.response / 2) * token
    reading = (weights + cached) / speed
    return prefill + max(reading, batches * lengths.longest * hardware.decode_overhead_ms / 1e3)


def _communication_seconds(plan: PlanInput, sizes: Sizes) -> float:
    """Seconds of communication between GPUs in an update."""
    if plan.gpus == 1:
        return 0.0
    speed = plan.hardware.interconnect * 1e12
    if plan.sharded:
        micro_batches = -(-plan.sequences_a_gpu // plan.micro_batch)
        # Per micro-batch: all-gather of the weights in forward and backward, reduce-scatter of the gradients.
        return 3 * micro_batches * sizes.total * compute_bytes(plan) / speed
    # One all-reduce per update, which moves every gradient twice.
    return 2 * trained_parameters(plan, sizes) * _FLOAT32 / speed


def _optimizer_seconds(plan: PlanInput, sizes: Sizes) -> float:
    speed = plan.hardware.bandwidth * 1e12 * plan.hardware.bandwidth_utilisation
    return _OPTIMIZER_PASSES * _FLOAT32 * trained_parameters(plan, sizes) / (plan.gpus if plan.sharded else 1) / speed
