"""The state of a training: its models, optimizer and engines, built from settings and input folders."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import torch
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.teacher import (
    NoTeacher,
    OtherCheckpoint,
    SelfAdapterOff,
    SelfEma,
    SelfFrozen,
)
from vicur.config.trained import Lora, RecoveryAlone, WholeModel
from vicur.config.training import TrainConfig
from vicur.modeling import (
    Qwen3VLStudentForConditionalGeneration,
    block_images,
    load_model,
    read_config,
    with_cue_recovery,
)
from vicur.modeling.chat import Chat
from vicur.modeling.features import FrozenFeatures
from vicur.training.checkpoint import restore, trained_weights
from vicur.training.lora import Adapters
from vicur.training.parallel import FsdpModel, ParallelModel, ParallelPlan
from vicur.training.recompute import Recomputation
from vicur.training.rollout import RolloutEngine
from vicur.training.rollout.build import build_engine, build_vllm_teacher
from vicur.training.rollout.teacher import VllmTeacher
from vicur.training.saving import cast_stochastically
from vicur.training.teachers import AdapterOffTeacher, AverageTeacher, FrozenTeacher, ModelTeacher
from vicur.training.vision import StudentVision
from vicur.training.world import World

CachedFeatures = Callable[[Qwen3VLForConditionalGeneration], FrozenFeatures]
AnyTeacher = ModelTeacher | VllmTeacher
_Loaded = tuple[ParallelModel, Recomputation, FrozenFeatures | None, Adapters | None, AnyTeacher | None, list[str]]


@dataclass(frozen=True, eq=False)
class TrainState:
    """Everything that a training step reads or changes."""

    world: World
    parallel: ParallelModel  # the student
    recomputation: Recomputation
    vision: StudentVision
    adapters: Adapters | None  # LoRA only
    teacher: AnyTeacher | None
    chat: Chat  # of student and teacher: their tokens and patches are the same
    optimizer: torch.optim.Optimizer
    engine: RolloutEngine
    config: TrainConfig
    seed: int

    @property
    def student(self) -> Qwen3VLForConditionalGeneration:
        return self.parallel.model

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of step ``step`` (from 0): a linear warm-up, then constant."""
        return self.config.learning_rate * min(1.0, (step + 1) / max(1, self.config.warmup_steps))

    def extra_state(self) -> Mapping[str, Tensor]:
        """Return the tensors besides the student's weights that change, by name. Checkpoints read them and write to them."""
        return {} if self.teacher is None else self.teacher.state()

    def close(self) -> None:
        self.engine.close()
        if self.teacher is not None:
            self.teacher.close()


def build_state(
    config: TrainConfig, inputs: Mapping[str, Path], chat: Chat, seed: int, world: World, work: Path
) -> TrainState:
    """Load the models of a training and build its optimizer and engines. All processes of ``world`` call this together.

    Args:
        inputs: ``base``, and ``teacher`` if that is another checkpoint.
        work: folder for caches that last as long as the training.

    Raises:
        VicurError: if a folder holds no such model, or settings do not fit a model.
    """
    # The processes share the folder, and each may read what another has cached.
    cache = config.features.model_copy(update={"disk_gb": config.features.disk_gb / world.size})

    def cached_features(model: Qwen3VLForConditionalGeneration) -> FrozenFeatures:
        return FrozenFeatures.cached(model, cache, work / "features")

    plan = ParallelPlan.create(config, world)
    teachers = _TeacherBuilder(config, inputs, plan, cached_features, chat, world)

    def load() -> _Loaded:
        student, adapters = new_student(config, inputs["base"], chat, seed, plan.load_device)
        trained = [name for name, weight in student.named_parameters() if weight.requires_grad]
        average = copy.deepcopy(student) if isinstance(config.effective.teacher, SelfEma) else None
        frozen = None if config.trained.vision else cached_features(student)
        recomputation = Recomputation(student, enabled=config.gradient_checkpointing)
        parallel = plan.student(student)
        return parallel, recomputation, frozen, adapters, teachers.build(parallel, average, trained, adapters), trained

    # The whole model passes through CPU memory before it is sharded, which would not hold it once for each process.
    parallel, recomputation, frozen, adapters, teacher, trained = world.one_at_a_time(load)
    # A set without repetition, in order: the self-adapter-off teacher is the student.
    for model in dict.fromkeys((parallel, *(() if teacher is None else teacher.parallel_models))):
        model.start()
    # Sharding replaces parameters, so the optimizer gets those of now.
    weights = dict(parallel.model.named_parameters())
    return TrainState(
        world=world,
        parallel=parallel,
        recomputation=recomputation,
        vision=StudentVision(parallel, recomputation, frozen),
        adapters=adapters,
        teacher=teacher,
        chat=chat,
        optimizer=torch.optim.AdamW(
            _groups([weights[name] for name in trained], config.weight_decay),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        ),
        engine=build_engine(config, inputs["base"], parallel, chat, world, work),
        config=config,
        seed=seed,
    )


def _groups(weights: list[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Group the trained weights by their decay: none for norms and biases, which are vectors."""
    if decay == 0:
        return [{"params": weights}]
    kinds = ([w for w in weights if w.ndim > 1], decay), ([w for w in weights if w.ndim <= 1], 0.0)
    return [{"params": group, "weight_decay": each} for group, each in kinds if group]


def new_student(
    config: TrainConfig, base: Path, chat: Chat, seed: int, device: torch.device
) -> tuple[Qwen3VLForConditionalGeneration, Adapters | None]:
    """Return the student at step 0, which computes the same function as its base, and its low-rank updates if those are trained.

    If the base has a cue recovery module, the student keeps it.
    """
    # Trained weights are in float32, whatever type the base has: bfloat16 would round small updates to nothing.
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
    """Set ``requires_grad`` of all weights, and add low-rank updates if those are trained."""
    adapters = None
    match config.trained:
        case WholeModel(vision=vision):
            student.requires_grad_(requires_grad=True)
            student.model.visual.requires_grad_(requires_grad=vision)
        case Lora() as settings:
            student.requires_grad_(requires_grad=False)
            adapters = Adapters(student, settings, seed)
        case RecoveryAlone():
            student.requires_grad_(requires_grad=False)
        case _:
            assert_never(config.trained)
    if config.effective.recovery:
        student.model.get_submodule("cue_recovery").requires_grad_(requires_grad=True)
    return adapters


def final_student(state: TrainState, weights: Mapping[str, Tensor], base: Path) -> Qwen3VLForConditionalGeneration:
    """Return the student to be saved, on rank 0: with the given trained weights, and low-rank updates merged.

    It cannot be trained afterwards.
    """
    student, adapters = state.student, state.adapters
    if isinstance(state.parallel, FsdpModel):
        # Rank 0 has only its shards of the student.
        student, adapters = new_student(state.config, base, state.chat, state.seed, torch.device("cpu"))
    restore(weights, trained_weights(student), World.single(str(student.device)))
    if adapters is not None:
        # Adding to bfloat16 weights would lose updates that are small against them.
        nn.Module.to(student, "cpu", torch.float32)
        adapters.merge()
    kind = state.config.save_dtype
    if kind is None and state.config.mixed_precision == "bf16":
        dtype = read_config(base).dtype or torch.float32
        kind = "stochastic" if dtype == torch.bfloat16 else None
        nn.Module.to(student, torch.float32 if kind else dtype)
    if kind == "stochastic":
        cast_stochastically(student, state.seed)
    elif kind is not None:
        nn.Module.to(student, getattr(torch, kind))
    return student


@dataclass(frozen=True, eq=False)
class _TeacherBuilder:
    config: TrainConfig
    inputs: Mapping[str, Path]
    plan: ParallelPlan
    cached_features: CachedFeatures
    chat: Chat
    world: World

    def build(
        self,
        student: ParallelModel,
        average: Qwen3VLForConditionalGeneration | None,
        trained: list[str],
        adapters: Adapters | None,
    ) -> AnyTeacher | None:
        """Return the teacher of ``student``. ``average`` is a copy of the student at step 0 for a self-ema teacher."""
        settings, vision = self.config.effective.teacher, self.config.trained.vision
        match settings:
            case SelfFrozen():
                return self._frozen(self.inputs["base"], starts_as_student=True)
            case OtherCheckpoint():
                return self._frozen(self.inputs["teacher"], starts_as_student=False)
            case SelfEma():
                assert average is not None
                parallel = self.plan.average(average.requires_grad_(requires_grad=False))
                budgets = self.config.prompts.pixels
                same_pixels = budgets.of("student") == budgets.of("teacher")
                return AverageTeacher(
                    parallel, trained, settings.decay, student_tower_trained=vision, same_pixels=same_pixels
                )
            case SelfAdapterOff():
                cached = self.cached_features(student.model)
                return AdapterOffTeacher(student, cached, adapters, student_tower_trained=vision)
            case NoTeacher():
                return None
            case _:
                assert_never(settings)

    def _frozen(self, folder: Path, *, starts_as_student: bool) -> AnyTeacher:
        if placed := self.config.engines.get("teacher"):
            return build_vllm_teacher(self.config, placed, folder, self.chat, self.world)
        parallel = self.plan.frozen(folder)
        return FrozenTeacher(
            parallel,
            self.cached_features(parallel.model),
            starts_as_student=starts_as_student,
            student_tower_trained=self.config.trained.vision,
        )
