"""The teachers: models that score the student's responses, and how they change while the student trains.

A teacher scores with the features of its vision tower. While both towers have the same weights, these are the student's, where both see an
image in the same size (:mod:`vicur.modeling.pixels`); otherwise the teacher encodes each image once for each state of its weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.objective import Objective
from vicur.modeling.chat import Pixels
from vicur.modeling.features import FrozenFeatures
from vicur.modeling.scoring import ResponseStates
from vicur.modeling.student import cue_recovery_off
from vicur.modeling.token_logprobs import TopTokens, token_logprobs, top_tokens
from vicur.modeling.vision import ImageFeatures, encode_images
from vicur.training.lora import Adapters
from vicur.training.parallel import ParallelModel

Features = dict[str, ImageFeatures]


@dataclass(frozen=True, eq=False)
class TeacherScores:
    """The teacher's part of an objective, without gradient: one of these, depending on its ``signal``."""

    logprobs_N: Tensor | None = None  # of the sampled tokens; for signal "topk" too
    top: TopTokens | None = None  # signal "topk"
    states: ResponseStates | None = None  # signal "vocabulary": a divergence needs the whole distribution

    def to(self, device: torch.device) -> TeacherScores:
        return TeacherScores(
            None if self.logprobs_N is None else self.logprobs_N.to(device),
            None if self.top is None else self.top.to(device),
            None if self.states is None else self.states.to(device),
        )


@torch.no_grad()
def teacher_scores(objective: Objective, teacher: ResponseStates, forbidden: Tensor) -> TeacherScores:
    """Return what ``objective`` reads from the teacher's states of the responses.

    Raises:
        VicurError: if the objective needs more top tokens than the vocabulary has.
    """
    arguments = teacher.hidden_NH, teacher.head_VH, teacher.targets_N[:, None], forbidden
    match objective.signal:
        case "vocabulary":
            return TeacherScores(states=teacher)
        case "topk":
            top, logprobs_N1 = top_tokens(*arguments, objective.k)  # type: ignore[attr-defined]  # each such objective has a field k
            return TeacherScores(logprobs_N1[:, 0], top=top)
        case "sampled":
            return TeacherScores(token_logprobs(*arguments)[0][:, 0])
        case _:
            assert_never(objective.signal)


class Teacher(ABC):
    """A model that scores responses."""

    # Its models, if the training process holds them.
    parallel_models: tuple[ParallelModel, ...] = ()

    @abstractmethod
    def features(self, images: Sequence[Pixels], student: Features, step: int) -> Features:
        """Return the features of ``images`` from the teacher's tower.

        Args:
            images: the images of a batch.
            student: their features from the student's tower at the start of step ``step``, without graph.
            step: number of steps made so far. At step 0 the student equals its base.
        """

    def reshard(self) -> None:  # noqa: B027 (only some teachers need it)
        """Free weights that were gathered for scoring."""

    def update(self, student: Qwen3VLForConditionalGeneration) -> None:  # noqa: B027 (most teachers are frozen)
        """Follow an update of the student."""

    def state(self) -> Mapping[str, Tensor]:
        """Return the tensors that change during the training, by name. Checkpoints read them and write to them."""
        return {}

    def close(self) -> None:  # noqa: B027 (most teachers hold only models)
        """Release engines and connections."""


class ModelTeacher(Teacher):
    """A teacher whose model the training process holds. It scores inside :meth:`scoring`."""

    def __init__(self, parallel: ParallelModel) -> None:
        self.parallel = parallel
        self.parallel_models = (parallel,)

    @property
    def model(self) -> Qwen3VLForConditionalGeneration:
        return self.parallel.model

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Make ``model`` compute the teacher's function inside the block, without gradients."""
        with torch.no_grad():
            yield

    def reshard(self) -> None:
        self.parallel.reshard()


class FrozenTeacher(ModelTeacher):
    """A frozen model: the student's base, whose tower ``starts_as_student``, or another checkpoint."""

    def __init__(
        self,
        parallel: ParallelModel,
        cached: FrozenFeatures,
        *,
        starts_as_student: bool,
        student_tower_trained: bool,
    ) -> None:
        super().__init__(parallel)
        self._equal_at_first = starts_as_student
        self._always_equal = starts_as_student and not student_tower_trained
        self._cached = cached

    def features(self, images: Sequence[Pixels], student: Features, step: int) -> Features:
        if self._always_equal or (self._equal_at_first and step == 0):
            # The features of step 0 do not enter the cache: a trained tower encodes a batch in one pass, which rounds differently. A
            # resumed training, which encodes these images later, must get the same bits.
            shared = {key: features.to(self.model.device) for key, features in student.items()}
        else:
            shared = {}
        with self.scoring():
            return shared | self._cached.of([image for image in images if image.key not in shared])


class AdapterOffTeacher(FrozenTeacher):
    """The student's own frozen backbone, with LoRA and cue recovery switched off while it scores."""

    def __init__(
        self,
        parallel: ParallelModel,
        cached: FrozenFeatures,
        adapters: Adapters | None,
        *,
        student_tower_trained: bool,
    ) -> None:
        super().__init__(parallel, cached, starts_as_student=True, student_tower_trained=student_tower_trained)
        self._adapters = adapters

    @contextmanager
    def scoring(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            # What is left is the base: both start at zero and the backbone is frozen.
            stack.enter_context(cue_recovery_off(self.model))
            if self._adapters is not None:
                stack.enter_context(self._adapters.off())
            yield


class AverageTeacher(ModelTeacher):
    """A moving average of the student: T <- decay T + (1 - decay) theta, over its ``trained`` weights in float32.

    ``parallel`` is a copy of the student at step 0, distributed like the student.
    """

    def __init__(
        self,
        parallel: ParallelModel,
        trained: Sequence[str],
        decay: float,
        *,
        student_tower_trained: bool,
        same_pixels: bool = True,
    ) -> None:
        super().__init__(parallel)
        self._trained = tuple(trained)
        self._decay = decay
        self._own_tower = student_tower_trained
        # Whether student and teacher have the same pixel budget. Not decided by image, because all processes encode together.
        self._same_pixels = same_pixels

    def features(self, images: Sequence[Pixels], student: Features, step: int) -> Features:
        # Each update changes a trained tower, so nothing is cached.
        if self._same_pixels and (step == 0 or not self._own_tower):
            return {key: features.to(self.model.device) for key, features in student.items()}
        with self.scoring():
            return self.parallel.run(lambda: encode_images(self.model, images))

    @torch.no_grad()
    def update(self, student: Qwen3VLForConditionalGeneration) -> None:
        weights = dict(student.named_parameters())
        for name, average in self.state().items():
            average.lerp_(weights[name].to(average.device), 1 - self._decay)

    def state(self) -> Mapping[str, Tensor]:
        # Scoring may have left gathered copies in the place of the shards.
        self.parallel.reshard()
        weights = dict(self.model.named_parameters())
        return {name: weights[name].detach() for name in self._trained}
