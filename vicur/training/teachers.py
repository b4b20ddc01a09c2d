"""The teachers: who scores the student's responses, with which vision tower, and how they change as the student does.

A teacher is asked for the features of its own tower. It takes the student's where both towers are in the same state, and encodes each
image once for each state of its own otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from vicur.modeling.chat import Pixels
from vicur.modeling.features import FrozenFeatures
from vicur.modeling.student import cue_recovery_off
from vicur.modeling.vision import ImageFeatures, encode_images
from vicur.training.lora import Adapters
from vicur.training.parallel import ParallelModel

Features = dict[str, ImageFeatures]


class Teacher(ABC):
    """Scores responses."""

    spreads: tuple[ParallelModel, ...] = ()
    """Its model, where the training holds that."""

    @abstractmethod
    def features(self, images: Sequence[Pixels], student: Features, step: int) -> Features:
        """Features of ``images`` from the teacher's tower.

        Args:
            images: the images of a batch.
            student: their features from the student's tower as it is at the beginning of step ``step``, without graph.
            step: steps made before (0: the student is its base).
        """

    def settle(self) -> None:  # noqa: B027 (there is mostly nothing to do)
        """Gives back what was gathered to score."""

    def follow(self, student: Qwen3VLForConditionalGeneration) -> None:  # noqa: B027 (most teachers stay as they are)
        """Is called after each update of the student."""

    def state(self) -> Mapping[str, Tensor]:
        """The tensors that change as the student is trained, by name, for checkpoints to read and to write to."""
        return {}

    def close(self) -> None:  # noqa: B027 (models go with whoever holds them)
        """Gives back what it holds beside models."""


class ModelTeacher(Teacher):
    """A model of the training's own.

    Args:
        spread: the model, which scores inside :meth:`scoring`.
    """

    def __init__(self, spread: ParallelModel) -> None:
        self.spread = spread
        self.spreads = (spread,)

    @property
    def model(self) -> Qwen3VLForConditionalGeneration:
        """The model."""
        return self.spread.model

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Inside, ``model`` computes what the teacher computes; nothing of it is for the student."""
        with torch.no_grad():
            yield

    def settle(self) -> None:
        """Gives gathered weights back."""
        self.spread.settle()


class FrozenTeacher(ModelTeacher):
    """A model that stays as it is: the student's base, or another checkpoint.

    Args:
        spread: the model, without gradients.
        known: features of its tower.
        begins_as_student: whether its tower is the one that the student's starts from.
        student_tower_trained: whether the student's tower is trained away from that.
    """

    def __init__(
        self,
        spread: ParallelModel,
        known: FrozenFeatures,
        *,
        begins_as_student: bool,
        student_tower_trained: bool,
    ) -> None:
        super().__init__(spread)
        self._same_at_first = begins_as_student
        self._same_for_good = begins_as_student and not student_tower_trained
        self._known = known

    def features(self, images: Sequence[Pixels], student: Features, step: int) -> Features:
        """The student's while its tower is the same, else those of this one, each encoded once a run.

        The student's of step 0 are not remembered: a trained tower encodes a batch in one pass, and a training that resumes later, and
        so encodes these images again, is to get the same bits.
        """
        if self._same_for_good or (self._same_at_first and step == 0):
            return {key: features.to(self.model.device) for key, features in student.items()}
        with self.scoring():
            return self._known.of(images)


class AdapterOffTeacher(FrozenTeacher):
    """The student's own frozen backbone, with LoRA and cue recovery switched off while it scores.

    Args:
        spread: the student; it stays trainable.
        known: features of its tower without the adapters.
        adapters: its low-rank updates, where it has them.
        student_tower_trained: whether they change its tower.
    """

    def __init__(
        self,
        spread: ParallelModel,
        known: FrozenFeatures,
        adapters: Adapters | None,
        *,
        student_tower_trained: bool,
    ) -> None:
        super().__init__(spread, known, begins_as_student=True, student_tower_trained=student_tower_trained)
        self._adapters = adapters

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Inside, the student computes what its base computes."""
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(cue_recovery_off(self.model))
            if self._adapters is not None:
                stack.enter_context(self._adapters.off())
            yield


class AverageTeacher(ModelTeacher):
    """A moving average of the student: T <- decay T + (1 - decay) theta, over the weights that are trained, in their float32.

    Args:
        spread: a copy of the student at step 0, spread as the student is.
        trained: names of the weights that are trained.
        decay: share of the average that an update leaves as it is.
        student_tower_trained: whether the student's tower is trained, and so averaged too.
    """

    def __init__(
        self, spread: ParallelModel, trained: Sequence[str], decay: float, *, student_tower_trained: bool
    ) -> None:
        super().__init__(spread)
        self._trained = tuple(trained)
        self._decay = decay
        self._own_tower = student_tower_trained

    def features(self, images: Sequence[Pixels], student: Features, step: int) -> Features:
        """The student's while the towers are the same, else those of this one, which is another after each update."""
        if step == 0 or not self._own_tower:
            return {key: features.to(self.model.device) for key, features in student.items()}
        with self.scoring():
            return self.spread.run(lambda: encode_images(self.model, images))

    @torch.no_grad()
    def follow(self, student: Qwen3VLForConditionalGeneration) -> None:
        """Moves the average towards the student."""
        weights = dict(student.named_parameters())
        for name, average in self.state().items():
            average.lerp_(weights[name].to(average.device), 1 - self._decay)

    def state(self) -> Mapping[str, Tensor]:
        """The average, by weight."""
        self.spread.settle()
        weights = dict(self.model.named_parameters())
        return {name: weights[name].detach() for name in self._trained}
