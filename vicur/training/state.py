"""What takes part in a training, made from its settings and the folders that it reads."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.teacher import TeacherEngineConfig
from vicur.config.training import TrainConfig
from vicur.config.vllm import Vllm
from vicur.modeling import Qwen3VLStudentForConditionalGeneration, block_images, load_model, with_cue_recovery
from vicur.modeling.chat import Chat
from vicur.modeling.features import FrozenFeatures
from vicur.training.lora import Adapters
from vicur.training.parallel import ParallelModel
from vicur.training.recompute import Recomputation
from vicur.training.rollout import RolloutEngine
from vicur.training.rollout.build import build_engine, build_teacher
from vicur.training.rollout.teacher import VllmTeacher
from vicur.training.spreads import ParallelPlan
from vicur.training.teachers import AdapterOffTeacher, AverageTeacher, FrozenTeacher, ModelTeacher
from vicur.training.vision import StudentVision
from vicur.training.world import World

Known = Callable[[Qwen3VLForConditionalGeneration], FrozenFeatures]
AnyTeacher = ModelTeacher | VllmTeacher
_Loaded = tuple[ParallelModel, Recomputation, FrozenFeatures | None, Adapters | None, AnyTeacher | None, list[str]]


@dataclass(frozen=True, eq=False)
class TrainState:
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
        engine: what draws its rollouts.
        config: settings.
        seed: root seed.
    """

    processes: World
    spread: ParallelModel
    recomputation: Recomputation
    vision: StudentVision
    adapters: Adapters | None
    teacher: AnyTeacher | None
    chat: Chat
    optimizer: torch.optim.Optimizer
    engine: RolloutEngine
    config: TrainConfig
    seed: int

    @property
    def student(self) -> Qwen3VLForConditionalGeneration:
        """The model that answers and learns."""
        return self.spread.model

    def learning_rate(self, step: int) -> float:
        """Learning rate of step ``step`` (from 0): a linear rise, then constant."""
        return self.config.learning_rate * min(1.0, (step + 1) / max(1, self.config.warmup_steps))

    def close(self) -> None:
        """Gives back what engines hold. It learns no more."""
        self.engine.close()
        if self.teacher is not None:
            self.teacher.close()

    def extra_state(self) -> Mapping[str, Tensor]:
        """The tensors beside the student's weights that change as it learns, for checkpoints to read and to write to."""
        return {} if self.teacher is None else self.teacher.state()


def build_learner(
    config: TrainConfig, inputs: Mapping[str, Path], chat: Chat, seed: int, processes: World, work: Path
) -> TrainState:
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
    # World share the disk; each reads what the others have written.
    room = config.features.model_copy(update={"disk_gb": config.features.disk_gb / processes.count})

    def known(model: Qwen3VLForConditionalGeneration) -> FrozenFeatures:
        return FrozenFeatures.cached(model, room, work / "features")

    spreads = ParallelPlan.of(config, processes)
    teachers = _Teachers(config, inputs, spreads, known, chat, processes)

    def load() -> _Loaded:
        student, adapters = new_student(config, inputs["base"], chat, seed, spreads.home)
        trained = [name for name, weight in student.named_parameters() if weight.requires_grad]
        average = copy.deepcopy(student) if config.effective.teacher.type == "self-ema" else None
        frozen = None if config.trained.vision else known(student)
        recomputation = Recomputation(student, enabled=config.gradient_checkpointing)
        spread = spreads.student(student)
        return spread, recomputation, frozen, adapters, teachers.of(spread, average, trained, adapters), trained

    # A model passes through the host's memory whole before it is where it belongs.
    spread, recomputation, frozen, adapters, teacher, trained = processes.in_turn(load)
    for each in dict.fromkeys((spread, *(() if teacher is None else teacher.spreads))):
        each.start()
    weights = dict(spread.model.named_parameters())
    return TrainState(
        processes=processes,
        spread=spread,
        recomputation=recomputation,
        vision=StudentVision(spread, recomputation, frozen),
        adapters=adapters,
        teacher=teacher,
        chat=chat,
        # The weights as they are now: sharded ones are others than before.
        optimizer=torch.optim.AdamW(
            [weights[name] for name in trained], lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        ),
        engine=build_engine(config, inputs["base"], spread, chat, processes, work),
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
    if config.bar_images:
        block_images(student)
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


@dataclass(frozen=True, eq=False)
class _Teachers:
    """Makes the teacher that the settings ask for."""

    config: TrainConfig
    inputs: Mapping[str, Path]
    spreads: ParallelPlan
    known: Known
    chat: Chat
    processes: World

    def of(
        self,
        student: ParallelModel,
        average: Qwen3VLForConditionalGeneration | None,
        trained: list[str],
        adapters: Adapters | None,
    ) -> AnyTeacher | None:
        """The teacher of ``student``; ``average`` is a copy of that at step 0."""
        settings, vision = self.config.effective.teacher, self.config.trained.vision
        if settings.type == "self-frozen":
            return self._frozen(self.inputs["base"], settings.engine, begins_as_student=True)
        if settings.type == "checkpoint":
            return self._frozen(self.inputs["teacher"], settings.engine, begins_as_student=False)
        if settings.type == "self-ema":
            assert average is not None
            spread = self.spreads.average(average.requires_grad_(requires_grad=False))
            return AverageTeacher(spread, trained, settings.decay, student_tower_trained=vision)
        if settings.type == "self-adapter-off":
            return AdapterOffTeacher(student, self.known(student.model), adapters, student_tower_trained=vision)
        return None

    def _frozen(self, folder: Path, engine: TeacherEngineConfig, *, begins_as_student: bool) -> AnyTeacher:
        if isinstance(engine, Vllm):
            return build_teacher(self.config, engine, folder, self.chat, self.processes)
        spread = self.spreads.frozen(folder)
        return FrozenTeacher(
            spread,
            self.known(spread.model),
            begins_as_student=begins_as_student,
            student_tower_trained=self.config.trained.vision,
        )
