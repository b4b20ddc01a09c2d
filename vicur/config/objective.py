"""The training objectives: what each minimises and what it needs.

Planning, the checks of settings and the loss read what an objective needs from its class. A new objective is a class here, a member of
:data:`ObjectiveConfig`, and a function next to its formula in ``vicur.training.objectives``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, field_validator

from vicur.config.section import Section

Signal = Literal["sampled", "topk", "vocabulary"]
Source = Literal["teacher", "advantage"]


class Objective(Section):
    """The base class of objectives, with their declarations."""

    # Which probabilities the loss takes from each distribution: those of the sampled tokens, those of the teacher's k most likely tokens as
    # well (the class has a field k), or those of the whole vocabulary.
    signal: ClassVar[Signal]
    # What the loss reads besides the student: scores of the teacher, the advantage of each response in its group, or nothing. With nothing
    # it learns from reference responses, without rollouts.
    reads: ClassVar[frozenset[Source]]
    # A policy gradient can make several updates on a batch.
    is_policy_gradient: ClassVar[bool] = False

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Check the declarations when a class is created, so that an objective never half works."""
        super().__pydantic_init_subclass__(**kwargs)
        # The bases of objectives have no type.
        if "type" not in cls.model_fields:
            return
        missing = [name for name in ("signal", "reads") if not hasattr(cls, name)]
        if missing:
            raise TypeError(f"objective {cls.__name__} does not declare {' and '.join(missing)}")
        if cls.signal not in get_args(Signal) or cls.reads - set(get_args(Source)):
            raise TypeError(f"objective {cls.__name__} declares an unknown signal or source")
        if cls.signal != "sampled" and "teacher" not in cls.reads:
            raise TypeError(f"objective {cls.__name__} has signal {cls.signal!r} but does not read a teacher")
        if cls.signal == "topk" and "k" not in cls.model_fields:
            raise TypeError(f"objective {cls.__name__} has signal 'topk' but no field k")
        if ("advantage" in cls.reads) != issubclass(cls, GroupObjective):
            raise TypeError(
                f"objective {cls.__name__} must derive from GroupObjective if, and only if, it reads 'advantage'"
            )
        if cls.is_policy_gradient and (cls.signal != "sampled" or not cls.reads):
            raise TypeError(
                f"objective {cls.__name__} cannot be a policy gradient: it needs sampled tokens with an advantage"
            )

    @property
    def responses_per_prompt(self) -> int:
        return 1

    @property
    def is_sample_mean(self) -> bool:
        """Whether the loss estimates an expectation over the next token from the sampled one, as importance weights do.

        A divergence of whole distributions takes that expectation exactly.
        """
        return self.signal == "sampled" and bool(self.reads)


class GroupObjective(Objective):
    """An objective that compares the rewards of several responses to the same prompt."""

    group_size: int = 5
    """Rollouts a prompt (5 in the paper)."""
    scale: bool = True
    """Divide a group's advantages by the standard deviation of its rewards, as in GRPO."""

    @field_validator("group_size")
    @classmethod
    def _at_least_two(cls, size: int) -> int:
        if size < 2:
            raise ValueError("must be at least 2, because the rollouts of a group are compared with each other")
        return size

    @property
    def responses_per_prompt(self) -> int:
        return self.group_size


class K1(Objective):
    """The paper's objective: a policy gradient whose advantage is the log-prob gap between teacher and student."""

    signal = "sampled"
    reads = frozenset({"teacher"})
    is_policy_gradient = True

    type: Literal["k1"] = "k1"
    clamp: float = Field(default=10.0, gt=0)
    """Bound of a token's advantage, in nats (10 in the paper)."""
    clip: float = Field(default=0.2, gt=0, lt=1)
    """PPO's clipping range, used when a batch serves several updates (0.2 in the paper)."""


class K3(Objective):
    """The k3 estimate of the reverse KL at each sampled token, differentiated directly."""

    signal = "sampled"
    reads = frozenset({"teacher"})

    type: Literal["k3"] = "k3"
    clamp: float = Field(default=10.0, gt=0)
    """Bound of a token's log-ratio between teacher and student, in nats. Beyond it a token has no gradient."""


class K2(Objective):
    """The k2 estimate of the KL divergence at each sampled token, differentiated directly: half the squared log-ratio."""

    signal = "sampled"
    reads = frozenset({"teacher"})

    type: Literal["k2"] = "k2"


class Abs(Objective):
    """The absolute log-ratio between student and teacher at each sampled token: every token pulls with the same strength."""

    signal = "sampled"
    reads = frozenset({"teacher"})

    type: Literal["abs"] = "abs"


class Mse(Objective):
    """The squared error between the log-probabilities of student and teacher, halved: the reference's other name for k2."""

    signal = "sampled"
    reads = frozenset({"teacher"})

    type: Literal["mse"] = "mse"


class ForwardKl(Objective):
    """KL(teacher || student) over the vocabulary. Corrects a confidently wrong student at once."""

    signal = "vocabulary"
    reads = frozenset({"teacher"})

    type: Literal["forward_kl"] = "forward_kl"


class ReverseKl(Objective):
    """KL(student || teacher) over the vocabulary: what k1 estimates, without the noise of the sampled token."""

    signal = "vocabulary"
    reads = frozenset({"teacher"})

    type: Literal["reverse_kl"] = "reverse_kl"


class Jsd(Objective):
    """The generalised Jensen-Shannon divergence over the vocabulary."""

    signal = "vocabulary"
    reads = frozenset({"teacher"})

    type: Literal["jsd"] = "jsd"
    beta: float = Field(default=0.5, gt=0, lt=1)
    """Share of the teacher in the mixture that both are compared with."""


class TopkForwardKl(Objective):
    """KL(teacher || student) over the teacher's k most likely tokens and one bucket for all others."""

    signal = "topk"
    reads = frozenset({"teacher"})

    type: Literal["topk_forward_kl"] = "topk_forward_kl"
    k: int = Field(default=64, ge=1)
    """Number of tokens that are not merged."""


class Grpo(GroupObjective):
    """Rewards instead of a teacher: a correct response earns 1 and is compared with others to the same prompt (arXiv 2402.03300)."""

    signal = "sampled"
    reads = frozenset({"advantage"})
    is_policy_gradient = True

    type: Literal["grpo"] = "grpo"
    clip: float = Field(default=0.2, gt=0, lt=1)
    """PPO's clipping range, used when a batch serves several updates."""


class Supervised(Objective):
    """Cross-entropy of reference responses, without rollouts."""

    signal = "sampled"
    reads = frozenset()

    type: Literal["supervised"] = "supervised"


ObjectiveConfig = Annotated[
    K1 | K2 | K3 | Abs | Mse | ForwardKl | ReverseKl | Jsd | TopkForwardKl | Grpo | Supervised,
    Field(discriminator="type"),
]

OBJECTIVES: dict[str, type[Objective]] = {
    kind.model_fields["type"].default: kind for kind in get_args(get_args(ObjectiveConfig)[0])
}
