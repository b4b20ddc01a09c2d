"""One on-policy distillation step: the student answers, the teacher scores, the student learns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import Qwen3VLForConditionalGeneration

from vicur.answers import is_correct
from vicur.config.training import TrainConfig
from vicur.modeling.chat import Chat
from vicur.modeling.generation import generate
from vicur.modeling.scoring import response_states, text_config
from vicur.modeling.vision import ImageFeatures, encode_images
from vicur.seeds import substream
from vicur.training.diagnostics import hint_leakage, logprob_gap
from vicur.training.examples import TrainingExample
from vicur.training.features import FrozenFeatures
from vicur.training.losses import distillation_loss
from vicur.training.objectives import token_weights


@dataclass
class Phases:
    """Seconds spent by phase of a step."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def end(self, name: str) -> None:
        """Counts the time since the last call for phase ``name``."""
        now = time.perf_counter()
        self.seconds[f"seconds/{name}"] = now - self._last
        self._last = now


@dataclass(frozen=True, eq=False)
class Learner:
    """What takes part in a step.

    Attributes:
        student: the model that answers and learns.
        teacher: the frozen model that scores.
        teacher_features: features of the teacher's tower, which never change.
        chat: prompts of both.
        optimizer: over the student's trainable parameters.
        config: settings.
        seed: root seed.
    """

    student: Qwen3VLForConditionalGeneration
    teacher: Qwen3VLForConditionalGeneration
    teacher_features: FrozenFeatures
    chat: Chat
    optimizer: torch.optim.Optimizer
    config: TrainConfig
    seed: int

    def learning_rate(self, step: int) -> float:
        """Learning rate of update ``step`` (from 0): a linear rise, then constant."""
        return self.config.learning_rate * min(1.0, (step + 1) / max(1, self.config.warmup_steps))


def distillation_step(learner: Learner, rows: Sequence[TrainingExample], step: int) -> dict[str, float]:
    """Makes update ``step`` (from 0) of the student on ``rows``.

    Images are encoded once for each state of a tower: the student's features serve its rollout and, with their graph, its training
    forward; the teacher takes them too while both towers are the same.

    Returns:
        The step's metrics.

    Raises:
        FloatingPointError: where loss or gradient is not finite; the student is left as it was before the step.
    """
    phases = Phases()
    student, chat, config = learner.student, learner.chat, learner.config
    forbidden = chat.forbidden_ids(text_config(student).vocab_size).to(student.device)
    images = [pixels for row in rows for pixels in row.student.pixels]
    with torch.set_grad_enabled(config.train_vision):
        features = encode_images(student, images)
    shared = {key: value.detach() for key, value in features.items()}
    phases.end("vision")

    responses = generate(
        student,
        chat,
        [row.student for row in rows],
        config.rollout,
        seed=substream(learner.seed, "rollout", step),
        batch_size=len(rows),
        features=shared,
    )
    phases.end("rollout")

    ids = [response.ids for response in responses]
    teacher_features = _teacher_features(learner, rows, shared, step)
    with torch.no_grad():
        taught = chat.collate([row.teacher for row in rows], ids, device=str(student.device))
        taught_states = response_states(learner.teacher, taught, teacher_features)
    phases.end("teacher")

    batch = chat.collate([row.student for row in rows], ids, device=str(student.device))
    states = response_states(student, batch, features)
    scored = distillation_loss(config.objective, states, taught_states, token_weights(states.mask_BR), forbidden)
    norm = _update(learner, scored.loss, step)
    phases.end("update")

    mask_BR, tokens = batch.response_mask, int(batch.response_mask.sum())
    total = sum(phases.seconds.values())
    return {
        "loss": float(scored.loss.detach()),
        "gradient_norm": norm,
        "learning_rate": learner.learning_rate(step),
        **logprob_gap(scored.teacher_BR, scored.student_BR, mask_BR),
        **hint_leakage([response.text for response in responses]),
        "entropy": float(scored.entropy_BR[mask_BR].mean()),
        "response_tokens": tokens / len(rows),
        "unfinished_share": sum(not r.finished for r in responses) / len(rows),
        "rollout_accuracy": sum(is_correct(r.text, row.example) for r, row in zip(responses, rows, strict=True))
        / len(rows),
        **phases.seconds,
        "tokens_per_second": tokens / total,
    }


def _teacher_features(
    learner: Learner, rows: Sequence[TrainingExample], shared: dict[str, ImageFeatures], step: int
) -> dict[str, ImageFeatures]:
    images = [pixels for row in rows for pixels in row.teacher.pixels]
    if step == 0 or not learner.config.train_vision:
        # The student starts as the teacher's copy, and keeps its tower where that is frozen.
        learner.teacher_features.remember(shared)
    return learner.teacher_features.of(images)


def _update(learner: Learner, loss: torch.Tensor, step: int) -> float:
    """Makes the update and returns the gradient's norm before clipping."""
    for group in learner.optimizer.param_groups:
        group["lr"] = learner.learning_rate(step)
    learner.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for group in learner.optimizer.param_groups for p in group["params"]]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, learner.config.max_grad_norm))
    if not torch.isfinite(torch.tensor([float(loss.detach()), norm])).all():
        raise FloatingPointError(f"loss {float(loss.detach())}, gradient norm {norm}")
    learner.optimizer.step()
    return norm
