"""Which settings of a training do not go together, and what to do about it: all that can be told without a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vicur.config.rollout import RolloutEngineConfig
from vicur.config.sampling import Sampling
from vicur.config.teacher import OtherCheckpoint, SelfFrozen
from vicur.config.vllm import Vllm
from vicur.errors import VicurError

if TYPE_CHECKING:
    from vicur.config.methods import Method
    from vicur.config.training import TrainConfig

# What is minimised without a teacher, and how it is told.
_ALONE = {"grpo": "learns from rewards", "supervised": "learns from reference responses"}
_SELF = ("self-frozen", "self-ema", "self-adapter-off")
_CLIPPED = ("k1", "grpo")
# What needs of a teacher the sampled tokens alone.
_SAMPLED = ("k1", "k3")
# Of vLLM: temperatures below are drawn with as if they were this one, and neither they nor penalties go beyond 2.
_LEAST_TEMPERATURE, _MOST = 0.01, 2
# Teachers that are models of their own and never change.
_APART = ("self-frozen", "checkpoint")


def require_compatible(config: TrainConfig) -> None:
    """Refuses a training whose settings contradict each other.

    Raises:
        VicurError: saying which, why, and what to set instead.
    """
    method = config.effective
    if method.objective.type in _ALONE:
        _require_no_teacher(config, method)
    else:
        _require_teacher(config, method)
    _require_trainable(config, method)
    _require_cues_to_swap(config, method)
    _require_usable_rollouts(config, method)
    _require_usable_engine(config, method)
    _require_usable_correction(config, method)
    _require_scored_tokens(config, method)
    _require_spreadable(config, method)


def _refusal(config: TrainConfig, setting: str, problem: str, remedy: str) -> VicurError:
    return VicurError(problem, where=f"training.{setting}, method {config.method}", remedy=remedy)


def _require_no_teacher(config: TrainConfig, method: Method) -> None:
    kind = method.objective.type
    for setting, value in (("teacher", method.teacher.type), ("privilege", method.privilege)):
        if value != "none":
            raise _refusal(
                config,
                setting,
                f"the objective {kind} {_ALONE[kind]}, and has no use for the {setting} {value}.",
                f"Leave training.{setting} out (for the other methods of the run set it in training.per_method), "
                "or choose an objective that distils, such as k1.",
            )


def _require_teacher(config: TrainConfig, method: Method) -> None:
    kind, teacher = method.objective.type, method.teacher
    if teacher.type == "none":
        raise _refusal(
            config,
            "objective",
            f"the objective {kind} is a distance to a teacher, and there is none.",
            "Set training.teacher, or leave training.objective out (for the other methods of the run set it in training.per_method).",
        )
    if teacher.type == "checkpoint" and teacher.path is None:
        raise _refusal(
            config,
            "teacher",
            "the teacher is another checkpoint, and none is named.",
            "Set training.teacher to {type: checkpoint, path: FOLDER}: a stronger model with the student's vocabulary.",
        )
    if teacher.type in _SELF and method.privilege == "none":
        raise _refusal(
            config,
            "privilege",
            f"a {teacher.type} teacher without a hint knows what the student knows, and teaches nothing.",
            "Set training.privilege to answer, rationale or cue, or training.teacher to another checkpoint.",
        )


def _require_trainable(config: TrainConfig, method: Method) -> None:
    trained = config.trained.type
    if trained == "recovery" and not method.recovery:
        raise _refusal(
            config,
            "trained",
            "the cue recovery module alone is to be trained, and the student has none.",
            "Set training.recovery.enabled to true, choose a method with the module, or train something else.",
        )
    if method.teacher.type == "self-adapter-off" and trained == "full":
        raise _refusal(
            config,
            "teacher",
            "the teacher is the student's backbone with its adapters off, but the backbone itself is trained.",
            "Set training.trained.type to lora or recovery, or training.teacher.type to self-frozen.",
        )


def _require_cues_to_swap(config: TrainConfig, method: Method) -> None:
    if config.cue_of == "another" and method.privilege != "cue":
        raise _refusal(
            config,
            "cue_of",
            f"the hint holds no cue that could be another's: the privilege is {method.privilege}.",
            "Set training.privilege to cue, choose a method that has it, or leave cue_of out.",
        )


def _require_usable_rollouts(config: TrainConfig, method: Method) -> None:
    kind, rollout = method.objective.type, config.rollout
    if config.updates_per_batch > 1 and kind not in _CLIPPED:
        raise _refusal(
            config,
            "updates_per_batch",
            f"several updates a batch need the PPO ratio, which the objective {kind} has not.",
            f"Set it to 1 and training.steps higher, or choose {' or '.join(_CLIPPED)}.",
        )
    drawn = [name for name in Sampling.model_fields if getattr(rollout, name) != getattr(Sampling(), name)]
    drawn = [name for name in drawn if name != "max_new_tokens"]
    if kind == "supervised" and drawn:
        raise _refusal(
            config,
            f"rollout.{drawn[0]}",
            "supervised training draws no rollouts.",
            "Leave it out (for the other methods of the run set it in training.per_method).",
        )
    if kind == "grpo" and rollout.temperature == 0:
        raise _refusal(
            config,
            "rollout.temperature",
            "greedy rollouts of one prompt are all the same, so their rewards tell nothing apart.",
            "Set it to 1.",
        )


def _require_usable_engine(config: TrainConfig, method: Method) -> None:
    rollout = config.rollout
    if not rollout.elsewhere:
        return
    if method.objective.type == "supervised":
        raise _refusal(
            config,
            "rollout.engine",
            "supervised training draws no rollouts.",
            "Leave it out (for the other methods of the run set it in training.per_method).",
        )
    if config.bar_images:
        raise _refusal(
            config,
            "rollout.engine",
            "a student whose text is barred from its images needs a mask that vLLM does not have.",
            "Set it to transformers, or leave bar_images out.",
        )
    if rollout.temperature and not _LEAST_TEMPERATURE <= rollout.temperature <= _MOST:
        raise _refusal(
            config,
            "rollout.temperature",
            f"vLLM draws at 0 and from {_LEAST_TEMPERATURE} to {_MOST}.",
            "Choose one of these, or set training.rollout.engine to transformers.",
        )
    if abs(rollout.presence_penalty) > _MOST:
        raise _refusal(
            config,
            "rollout.presence_penalty",
            f"vLLM takes penalties from -{_MOST} to {_MOST}.",
            "Choose one of these, or set training.rollout.engine to transformers.",
        )


def _require_usable_correction(config: TrainConfig, method: Method) -> None:
    kind, rollout = method.objective.type, config.rollout
    if rollout.importance.type == "none":
        return
    if not rollout.elsewhere:
        raise _refusal(
            config,
            "rollout.importance",
            "the student itself draws its rollouts, so every ratio is 1.",
            "Leave it out, or set training.rollout.engine to vllm.",
        )
    if kind not in _CLIPPED:
        raise _refusal(
            config,
            "rollout.importance",
            f"the objective {kind} is no policy gradient: it compares student and teacher at each token, whoever drew it.",
            f"Leave it out, or choose {' or '.join(_CLIPPED)}.",
        )


def _require_scored_tokens(config: TrainConfig, method: Method) -> None:
    teacher, kind = method.teacher, method.objective.type
    if isinstance(teacher, SelfFrozen | OtherCheckpoint) and isinstance(teacher.engine, Vllm):
        if kind not in _SAMPLED:
            raise _refusal(
                config,
                "teacher.engine",
                f"vLLM tells the teacher's log-probabilities of the sampled tokens, and the objective {kind} needs those of others.",
                f"Set it to local, or choose {' or '.join(_SAMPLED)}.",
            )
        if _share_a_server(config.rollout.engine, teacher.engine):
            raise _refusal(
                config,
                "teacher.engine",
                "the server of the rollouts is given the student's weights, and a teacher keeps its own.",
                "Start another with vicur rollout-server --teacher, and set url to its address.",
            )
        if config.distribution.teacher_devices == "separate" and teacher.engine.placement == "inside":
            raise _refusal(
                config,
                "distribution.teacher_devices",
                "vLLM inside the training takes its device.",
                "Set it to shared, or training.teacher.engine.placement to server.",
            )


def _share_a_server(first: RolloutEngineConfig, second: Vllm) -> bool:
    urls = [each.url.rstrip("/") for each in (first, second) if isinstance(each, Vllm) and each.url is not None]
    return len(urls) > len(set(urls))


def _require_spreadable(config: TrainConfig, method: Method) -> None:
    spread, teacher = config.distribution, method.teacher.type
    if spread.processes != "auto" and config.batch_size % spread.processes:
        raise _refusal(
            config,
            "batch_size",
            f"a batch of {config.batch_size} prompts cannot be shared equally by {spread.processes} processes.",
            f"Choose a multiple of {spread.processes}, or another number of processes.",
        )
    if spread.teacher_devices == "separate" and teacher not in _APART:
        raise _refusal(
            config,
            "distribution.teacher_devices",
            f"the teacher {teacher} has no weights of its own to put on other GPUs."
            if teacher != "none"
            else "there is no teacher.",
            f"Set it to shared, or choose a teacher that stays as it is ({' or '.join(_APART)}).",
        )
    if spread.strategy == "fsdp" and teacher == "self-adapter-off" and config.trained.vision:
        raise _refusal(
            config,
            "distribution.strategy",
            "a vision tower that is sharded encodes for all processes at once, and this teacher's would for one.",
            "Set it to ddp, training.trained.vision to false, or training.teacher.type to self-frozen.",
        )
