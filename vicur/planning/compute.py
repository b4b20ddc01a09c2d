"""Operations, tokens and hours of a training.

Operations are multiplications and additions, two for each weight and token, as in Kaplan et al. (arXiv 2001.08361, section 2.1), and
4 T^2 D for each attention head over T tokens (scores and weighted sum; nothing is saved for causality, since kernels that take a padding
mask compute the whole square). The backward is twice the forward, or once where weights are frozen and only states get gradients. With
gradient checkpointing the layers' forward is computed once more. The output layer sees response tokens only.

Matrix work runs at ``utilisation`` of the peak. Decoding is bound by memory: each step reads the weights and every living row's KV cache
once, at ``bandwidth_utilisation``, and takes ``decode_overhead_ms`` at least. A batch decodes until its longest response ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vicur.planning.architecture import Architecture
from vicur.planning.inputs import PlanInput
from vicur.planning.model import Models, compute_bytes, student_precision, trained_parameters
from vicur.planning.sizes import Sizes

_FLOAT32 = torch.float32.itemsize
# AdamW reads weight, gradient and two states, and writes weight and states.
_OPTIMIZER_PASSES = 7
# Products of hidden state and output layer in the loss. One log-probability: logits, logits again in the backward, and two gradients. A
# divergence: both models' logits, and two gradients while they are there. A frozen output layer gets no gradient.
_LOSS_PRODUCTS = 4


@dataclass(frozen=True)
class Lengths:
    """Lengths in tokens that time is told for.

    Attributes:
        prompt: mean prompt.
        response: mean response.
        longest: longest response of a batch, which its decoding waits for.
    """

    prompt: int
    response: int
    longest: int


@dataclass(frozen=True)
class Work:
    """Operations of one step, all GPUs together.

    Attributes:
        vision: encoding the images, and the backward of a trained tower.
        rollout: prefill and decoding.
        teacher: scoring.
        forward: the student's forward, what checkpointing repeats included.
        backward: its backward.
        loss: projections to the vocabulary in the loss, both ways.
    """

    vision: float
    rollout: float
    teacher: float
    forward: float
    backward: float
    loss: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.vision + self.rollout + self.teacher + self.forward + self.backward + self.loss


@dataclass(frozen=True)
class Seconds:
    """Time of one step by phase, and of one validation, in seconds."""

    vision: float
    rollout: float
    teacher: float
    update: float
    validation: float

    @property
    def step(self) -> float:
        """A step without validation. Phases follow one another: teacher and student do not overlap."""
        return self.vision + self.rollout + self.teacher + self.update


def expected_lengths(plan: PlanInput) -> Lengths:
    """The mean lengths of the plan; half of the longest where it says none."""
    prompt = plan.mean_prompt_tokens or max(plan.visual_tokens, -(-plan.max_prompt_tokens // 2))
    response = plan.mean_response_tokens or -(-plan.max_response_tokens // 2)
    return Lengths(prompt, response, plan.max_response_tokens)


def longest_lengths(plan: PlanInput) -> Lengths:
    """Every prompt and response as long as it may get: an upper bound."""
    return Lengths(plan.max_prompt_tokens, plan.max_response_tokens, plan.max_response_tokens)


def validations(steps: int, every: int) -> int:
    """Validations of a training that runs to its last step: before the first update, after each ``every`` steps, after the last."""
    return 1 + -(-steps // every)


def text_flops(model: Architecture, sizes: Sizes, tokens: float) -> float:
    """Operations of the decoder layers over one sequence."""
    text = model.text
    attention = 4 * tokens**2 * text.num_attention_heads * model.head_dim
    return float(sizes.text_layers * (2 * sizes.text_linear * tokens + attention))


def head_flops(model: Architecture, tokens: float) -> float:
    """Operations of the output layer over ``tokens``."""
    text = model.text
    return float(2 * text.hidden_size * text.vocab_size * tokens)


def recovery_flops(plan: PlanInput, model: Architecture) -> float:
    """Operations of all cue recovery modules over one sequence: four projections of one token, and two products with its visual
    tokens in each head (``vicur.modeling.recovery``)."""
    if plan.recovery is None or not plan.visual_tokens:
        return 0.0
    text = model.text
    heads = plan.recovery.num_heads or text.num_attention_heads
    modules = len(plan.recovery.layers(text.num_hidden_layers))
    return float(modules * (8 * text.hidden_size**2 + 4 * heads * plan.visual_tokens * text.hidden_size))


def vision_flops(plan: PlanInput, model: Architecture, sizes: Sizes) -> float:
    """Operations of the vision tower over the image of one prompt: its blocks for each patch, its mergers for each visual token."""
    vision = model.vision
    patches = plan.visual_tokens * vision.spatial_merge_size**2
    blocks = sizes.vision_blocks * (2 * sizes.vision_block * patches + 4 * patches**2 * vision.hidden_size)
    return float(blocks + 2 * (sizes.vision - sizes.vision_blocks * sizes.vision_block) * plan.visual_tokens)


def step_work(plan: PlanInput, models: Models, lengths: Lengths) -> Work:
    """Operations of one step.

    Args:
        plan: the plan.
        models: its models.
        lengths: lengths of its sequences.
    """
    student, sizes, rows = models.student, models.sizes, plan.sequences
    tokens = lengths.prompt + lengths.response
    forward = text_flops(student, sizes, tokens) + recovery_flops(plan, student)
    image = vision_flops(plan, student, sizes)
    repeated = 2 if plan.gradient_checkpointing else 1
    # A frozen tower, the teacher's too, encodes an image once a run and remembers it: no more than a first epoch, which is not counted
    # for the teacher.
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
    """Time of one step's phases."""
    work = step_work(plan, models, lengths)
    rate = _operations_a_second(plan)
    learned = (work.forward + work.backward + work.loss) / (rate * plan.gpus)
    validated = -(-plan.validation_examples // plan.gpus)
    return Seconds(
        vision=work.vision / (rate * plan.gpus),
        rollout=_answering(plan, models, lengths, plan.sequences_a_gpu) if plan.on_policy else 0.0,
        teacher=work.teacher / (rate * (plan.teacher_gpus or plan.gpus)),
        update=max(learned, plan.updates * _exchange(plan, models.sizes))
        + plan.updates * _optimizer(plan, models.sizes),
        validation=_answering(plan, models, lengths, validated) if plan.validation_examples else 0.0,
    )


def _operations_a_second(plan: PlanInput) -> float:
    hardware = plan.hardware
    share = 1.0 if plan.mixed_precision == "bf16" else hardware.float32_share
    return hardware.peak_tflops * 1e12 * hardware.utilisation * share


def _answering(plan: PlanInput, models: Models, lengths: Lengths, rows: int) -> float:
    """Seconds in which a GPU answers ``rows`` prompts, a batch after the other."""
    hardware, text = plan.hardware, models.student.text
    batches = -(-rows // plan.rollout_batch)
    prefill = rows * text_flops(models.student, models.sizes, lengths.prompt) / _operations_a_second(plan)
    speed = hardware.bandwidth * 1e12 * hardware.bandwidth_utilisation
    number = compute_bytes(plan)
    # Autocast casts float32 weights for each forward: read, written, and read again.
    passes = _FLOAT32 + 2 * number if student_precision(plan).autocast else number
    weights = batches * lengths.longest * (models.sizes.total - models.sizes.vision) * passes
    numbers = 2 * text.num_hidden_layers * models.student.key_value_heads * models.student.head_dim
    token = numbers * (_FLOAT32 if student_precision(plan).autocast else number)
    cached = rows * lengths.response * (lengths.prompt + lengths.response / 2) * token
    reading = (weights + cached) / speed
    return prefill + max(reading, batches * lengths.longest * hardware.decode_overhead_ms / 1e3)


def _exchange(plan: PlanInput, sizes: Sizes) -> float:
    """Seconds of traffic between GPUs in an update, which runs beside the computation: sharding fetches the weights twice and sends the
    gradients once a micro-batch; otherwise the gradients are summed once a step, which sends them twice."""
    if plan.gpus == 1:
        return 0.0
    speed = plan.hardware.interconnect * 1e12
    if plan.sharded:
        micro_batches = -(-plan.sequences_a_gpu // plan.micro_batch)
        return 3 * micro_batches * sizes.total * compute_bytes(plan) / speed
    return 2 * trained_parameters(plan, sizes) * _FLOAT32 / speed


def _optimizer(plan: PlanInput, sizes: Sizes) -> float:
    speed = plan.hardware.bandwidth * 1e12 * plan.hardware.bandwidth_utilisation
    return _OPTIMIZER_PASSES * _FLOAT32 * trained_parameters(plan, sizes) / (plan.gpus if plan.sharded else 1) / speed
