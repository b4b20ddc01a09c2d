"""What takes part in a training, made from its settings and the folders that it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.training import TrainConfig
from vicur.modeling import Qwen3VLStudentForConditionalGeneration, bar_images, load_model, with_cue_recovery
from vicur.modeling.chat import Chat
from vicur.modeling.features import FrozenFeatures
from vicur.training.lora import Adapters
from vicur.training.teachers import AdapterOffTeacher, AverageTeacher, FrozenTeacher, Teacher
from vicur.training.vision import StudentVision


@dataclass(frozen=True, eq=False)
class Learner:
    """What takes part in a step.

    Attributes:
        student: the model that answers and learns.
        vision: what it sees.
        adapters: its low-rank updates, where those are trained.
        teacher: who scores its responses, where somebody does.
        chat: prompts of both.
        optimizer: over the student's trained weights.
        config: settings.
        seed: root seed.
    """

    student: Qwen3VLForConditionalGeneration
    vision: StudentVision
    adapters: Adapters | None
    teacher: Teacher | None
    chat: Chat
    optimizer: torch.optim.Optimizer
    config: TrainConfig
    seed: int

    def learning_rate(self, step: int) -> float:
        """Learning rate of step ``step`` (from 0): a linear rise, then constant."""
        return self.config.learning_rate * min(1.0, (step + 1) / max(1, self.config.warmup_steps))

    def extra_state(self) -> dict[str, Tensor]:
        """Tensors beside the student's weights that change as it learns, for checkpoints."""
        return {} if self.teacher is None else self.teacher.state()

    def load_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts back what :meth:`extra_state` gave."""
        if self.teacher is not None:
            self.teacher.load_state(state)

    def finished_student(self) -> Qwen3VLForConditionalGeneration:
        """The student as it is saved, low-rank updates merged into its weights. It learns no more."""
        if self.adapters is not None:
            self.adapters.merge()
        return self.student


def build_learner(
    config: TrainConfig, inputs: Mapping[str, Path], chat: Chat, seed: int, device: str, work: Path
) -> Learner:
    """Loads the models of a training.

    Args:
        config: its settings.
        inputs: ``base``, and ``teacher`` where that is another checkpoint.
        chat: the base's chat.
        seed: root seed of new weights.
        device: where to put the models.
        work: folder for what may be kept on disk while the training lasts.

    Raises:
        VicurError: for a folder that holds no such model, and settings that do not fit it.
    """
    student = _student(config, inputs["base"], chat, seed, device)
    if config.bar_images:
        bar_images(student)
    adapters = _choose_trained(student, config, seed)
    trained = [weight for weight in student.parameters() if weight.requires_grad]

    def known(model: Qwen3VLForConditionalGeneration) -> FrozenFeatures:
        return FrozenFeatures.kept(model, config.features, work / "features")

    return Learner(
        student=student,
        vision=StudentVision(student, None if config.trained.vision else known(student)),
        adapters=adapters,
        teacher=_teacher(config, inputs, student, adapters, device, known),
        chat=chat,
        optimizer=torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True),
        config=config,
        seed=seed,
    )


def _student(config: TrainConfig, folder: Path, chat: Chat, seed: int, device: str) -> Qwen3VLForConditionalGeneration:
    """The student at step 0: in what it computes, its base. One that has a cue recovery module goes on with it."""
    base = load_model(folder, device=device)
    if not config.effective.recovery or isinstance(base, Qwen3VLStudentForConditionalGeneration):
        return base
    student: Qwen3VLForConditionalGeneration = with_cue_recovery(
        base, config.recovery.module, seed, im_start_token_id=chat.start_id
    )
    return student


def _choose_trained(student: Qwen3VLForConditionalGeneration, config: TrainConfig, seed: int) -> Adapters | None:
    """Leaves the gradients of what is trained on, and puts low-rank updates in where those are."""
    trained, adapters = config.trained, None
    student.requires_grad_(requires_grad=trained.type == "full")
    if trained.type == "lora":
        adapters = Adapters(student, trained, seed)
    elif trained.type == "full":
        student.model.visual.requires_grad_(requires_grad=trained.vision)
    if config.effective.recovery:
        student.model.get_submodule("cue_recovery").requires_grad_(requires_grad=True)
    return adapters


def _teacher(
    config: TrainConfig,
    inputs: Mapping[str, Path],
    student: Qwen3VLForConditionalGeneration,
    adapters: Adapters | None,
    device: str,
    known: Callable[[Qwen3VLForConditionalGeneration], FrozenFeatures],
) -> Teacher | None:
    settings, vision = config.effective.teacher, config.trained.vision
    if settings.type == "self-frozen":
        base = load_model(inputs["base"], device=device).requires_grad_(requires_grad=False)
        return FrozenTeacher(base, known(base), begins_as_student=True, student_tower_trained=vision)
    if settings.type == "checkpoint":
        other = load_model(inputs["teacher"], device=device).requires_grad_(requires_grad=False)
        return FrozenTeacher(other, known(other), begins_as_student=False, student_tower_trained=vision)
    if settings.type == "self-ema":
        return AverageTeacher(student, settings.decay, student_tower_trained=vision)
    if settings.type == "self-adapter-off":
        return AdapterOffTeacher(student, known(student), adapters, student_tower_trained=vision)
    return None
