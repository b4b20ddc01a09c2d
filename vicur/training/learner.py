"""What takes part in a training, made from its settings and the folders that it reads."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.training import TrainConfig
from vicur.modeling import Qwen3VLStudentForConditionalGeneration, load_model, with_cue_recovery
from vicur.modeling.chat import Chat
from vicur.modeling.features import FrozenFeatures
from vicur.training.lora import Adapters
from vicur.training.processes import Processes
from vicur.training.recompute import Recomputation
from vicur.training.spread import Replicated, Sharded, Single, Spread
from vicur.training.teachers import AdapterOffTeacher, AverageTeacher, FrozenTeacher, Teacher
from vicur.training.vision import StudentVision

Known = Callable[[Qwen3VLForConditionalGeneration], FrozenFeatures]


@dataclass(frozen=True, eq=False)
class Learner:
    """What takes part in a step.

    Attributes:
        processes: this process among those of the training.
        spread: the model that answers and learns, as the processes share it.
        recomputation: whether it keeps its activations for the backward.
        vision: what it sees.
        adapters: its low-rank updates, where those are trained.
        teacher: who scores its responses, where somebody does.
        chat: prompts of both.
        optimizer: over the student's trained weights.
        config: settings.
        seed: root seed.
    """

    processes: Processes
    spread: Spread
    recomputation: Recomputation
    vision: StudentVision
    adapters: Adapters | None
    teacher: Teacher | None
    chat: Chat
    optimizer: torch.optim.Optimizer
    config: TrainConfig
    seed: int

    @property
    def student(self) -> Qwen3VLForConditionalGeneration:
        """The model that answers and learns."""
        return self.spread.model

    def learning_rate(self, step: int) -> float:
        """Learning rate of step ``step`` (from 0): a linear rise, then constant."""
        return self.config.learning_rate * min(1.0, (step + 1) / max(1, self.config.warmup_steps))

    def extra_state(self) -> Mapping[str, Tensor]:
        """The tensors beside the student's weights that change as it learns, for checkpoints to read and to write to."""
        return {} if self.teacher is None else self.teacher.state()


def build_learner(
    config: TrainConfig, inputs: Mapping[str, Path], chat: Chat, seed: int, processes: Processes, work: Path
) -> Learner:
    """Loads the models of a training.

    Args:
        config: its settings.
        inputs: ``base``, and ``teacher`` where that is another checkpoint.
        chat: the base's chat.
        seed: root seed of new weights.
        processes: who trains; several of them load the same.
        work: folder for what may be kept on disk while the training lasts.

    Raises:
        VicurError: for a folder that holds no such model, and settings that do not fit it.
    """
    student, adapters = new_student(config, inputs["base"], chat, seed, processes.device)
    trained = [name for name, weight in student.named_parameters() if weight.requires_grad]
    average = copy.deepcopy(student) if config.effective.teacher.type == "self-ema" else None

    def known(model: Qwen3VLForConditionalGeneration) -> FrozenFeatures:
        return FrozenFeatures.kept(model, config.features, work / "features")

    frozen = None if config.trained.vision else known(student)
    recomputation = Recomputation(student, enabled=config.gradient_checkpointing)
    spread = _spread(student, config, processes)
    weights = dict(student.named_parameters())
    return Learner(
        processes=processes,
        spread=spread,
        recomputation=recomputation,
        vision=StudentVision(spread, recomputation, frozen),
        adapters=adapters,
        teacher=_Teachers(config, inputs, processes, known).of(spread, average, trained, adapters),
        chat=chat,
        # The weights as they are now: sharded ones are others than before.
        optimizer=torch.optim.AdamW(
            [weights[name] for name in trained], lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        ),
        config=config,
        seed=seed,
    )


def new_student(
    config: TrainConfig, base: Path, chat: Chat, seed: int, device: torch.device
) -> tuple[Qwen3VLForConditionalGeneration, Adapters | None]:
    """The student at step 0, and its low-rank updates where those are trained: in what it computes, its base.

    What is trained is in float32, whatever the base is in: in bfloat16, small updates would be lost to rounding. One that has a cue
    recovery module goes on with it.
    """
    student = load_model(base, device=str(device), dtype=torch.float32)
    if config.effective.recovery and not isinstance(student, Qwen3VLStudentForConditionalGeneration):
        student = with_cue_recovery(student, config.recovery.module, seed, im_start_token_id=chat.start_id)
    adapters = _choose_trained(student, config, seed)
    if config.mixed_precision == "bf16":
        for weight in student.parameters():
            if not weight.requires_grad:
                weight.data = weight.data.bfloat16()
    return student, adapters


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


def _spread(model: Qwen3VLForConditionalGeneration, config: TrainConfig, processes: Processes) -> Spread:
    """The student, or a copy of it, as the processes share it."""
    bf16 = config.mixed_precision == "bf16"
    if processes.count == 1:
        return Single(model, bf16=bf16)
    if config.distribution.strategy == "fsdp":
        return Sharded(model, bf16=bf16, vision=config.trained.vision)
    return Replicated(model, bf16=bf16)


@dataclass(frozen=True, eq=False)
class _Teachers:
    """Makes the teacher that the settings ask for."""

    config: TrainConfig
    inputs: Mapping[str, Path]
    processes: Processes
    known: Known

    def of(
        self,
        student: Spread,
        average: Qwen3VLForConditionalGeneration | None,
        trained: list[str],
        adapters: Adapters | None,
    ) -> Teacher | None:
        """The teacher of ``student``; ``average`` is a copy of that at step 0."""
        settings, vision = self.config.effective.teacher, self.config.trained.vision
        if settings.type == "self-frozen":
            return self._frozen(self.inputs["base"], begins_as_student=True)
        if settings.type == "checkpoint":
            return self._frozen(self.inputs["teacher"], begins_as_student=False)
        if settings.type == "self-ema":
            assert average is not None
            average.requires_grad_(requires_grad=False)
            return AverageTeacher(
                self._like_the_student(average), trained, settings.decay, student_tower_trained=vision
            )
        if settings.type == "self-adapter-off":
            return AdapterOffTeacher(student, self.known(student.model), adapters, student_tower_trained=vision)
        return None

    def _frozen(self, folder: Path, *, begins_as_student: bool) -> Teacher:
        bf16 = self.config.mixed_precision == "bf16"
        model = load_model(
            folder, device=str(self.processes.teacher_device), dtype=torch.bfloat16 if bf16 else torch.float32
        ).requires_grad_(requires_grad=False)
        known, shared = self.known(model), self.processes.teacher_device == self.processes.device
        sharded = shared and self.processes.count > 1 and self.config.distribution.strategy == "fsdp"
        # Processes encode at different times: each has what it needs of a frozen tower.
        spread = Sharded(model, bf16=False, vision=False) if sharded else Single(model, bf16=False)
        return FrozenTeacher(
            spread,
            known,
            begins_as_student=begins_as_student,
            student_tower_trained=self.config.trained.vision,
        )

    def _like_the_student(self, average: Qwen3VLForConditionalGeneration) -> Spread:
        """A replica of an average is that of each process by itself: all make the same."""
        if self.processes.count > 1 and self.config.distribution.strategy == "fsdp":
            return Sharded(average, bf16=self.config.mixed_precision == "bf16", vision=self.config.trained.vision)
        return Single(average, bf16=self.config.mixed_precision == "bf16")
