"""Checks of a training's settings against each other: everything that can be decided without reading a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, assert_never

from vicur.config.objective import OBJECTIVES, Objective
from vicur.config.rollout import RolloutEngineConfig
from vicur.config.sampling import Sampling
from vicur.config.teacher import NoTeacher, OtherCheckpoint, SelfAdapterOff, SelfEma, SelfFrozen, TeacherConfig
from vicur.config.vllm import Vllm
from vicur.errors import VicurError

if TYPE_CHECKING:
    from vicur.config.methods import Method
    from vicur.config.training import TrainConfig

# vLLM silently raises lower temperatures to this one.
_LEAST_TEMPERATURE = 0.01
# vLLM's bound for temperatures and penalties.
_MOST = 2
_NOT_FOR_THIS_METHOD = "(to set it for the run's other methods only, use training.per_method)"


def require_compatible(config: TrainConfig) -> None:
    """Raise a ``VicurError`` if settings of a training contradict each other."""
    method = config.effective
    if "teacher" in method.objective.reads:
        _require_teacher(config, method)
    else:
        _require_no_teacher(config, method)
    _require_trainable(config, method)
    _require_cue_to_swap(config, method)
    _require_usable_rollouts(config, method)
    _require_usable_engine(config, method)
    _require_usable_staleness(config, method)
    _require_usable_correction(config, method)
    _require_usable_teacher_engine(config, method)
    _require_distributable(config, method)


def _error(config: TrainConfig, setting: str, problem: str, remedy: str) -> VicurError:
    return VicurError(problem, where=f"training.{setting}, method {config.method}", remedy=remedy)


def _policy_gradients() -> str:
    return " or ".join(name for name, kind in OBJECTIVES.items() if kind.is_policy_gradient)


def _one_of(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _learns_from(objective: Objective) -> str:
    return "learns from rewards" if "advantage" in objective.reads else "learns from reference responses"


def _require_no_teacher(config: TrainConfig, method: Method) -> None:
    kind = method.objective.type
    for setting, value in (("teacher", method.teacher.type), ("privilege", method.privilege)):
        if value != "none":
            raise _error(
                config,
                setting,
                f"the objective {kind} {_learns_from(method.objective)}, so it cannot use the {setting} {value}.",
                f"Remove training.{setting}: training.{setting}=null {_NOT_FOR_THIS_METHOD}, "
                "or choose an objective that distils, such as k1.",
            )


def _require_teacher(config: TrainConfig, method: Method) -> None:
    kind, teacher = method.objective.type, method.teacher
    if isinstance(teacher, NoTeacher):
        raise _error(
            config,
            "objective",
            f"the objective {kind} compares the student with a teacher, but the method has no teacher.",
            f"Set training.teacher, or remove training.objective: training.objective=null {_NOT_FOR_THIS_METHOD}.",
        )
    if isinstance(teacher, OtherCheckpoint) and teacher.path is None:
        raise _error(
            config,
            "teacher",
            "the teacher is another checkpoint, but its folder is not set.",
            "Set training.teacher to {type: checkpoint, path: FOLDER}: a stronger model with the student's vocabulary.",
        )
    if _derives_from_student(teacher) and method.privilege == "none":
        raise _error(
            config,
            "privilege",
            f"a {teacher.type} teacher without a hint knows nothing that the student does not know.",
            "Set training.privilege to answer, rationale or cue, or training.teacher to another checkpoint.",
        )


def _derives_from_student(teacher: TeacherConfig) -> bool:
    match teacher:
        case SelfFrozen() | SelfEma() | SelfAdapterOff():
            return True
        case OtherCheckpoint() | NoTeacher():
            return False
        case _:
            assert_never(teacher)


def _require_trainable(config: TrainConfig, method: Method) -> None:
    trained = config.trained.type
    if trained == "recovery" and not method.recovery:
        raise _error(
            config,
            "trained",
            "only the cue recovery module should be trained, but the student has no such module.",
            "Set training.recovery.enabled to true, choose a method with the module, or set training.trained.type to full or lora.",
        )
    if isinstance(method.teacher, SelfAdapterOff) and trained == "full":
        raise _error(
            config,
            "teacher",
            "a self-adapter-off teacher is the student's backbone, but training.trained.type is full, which changes the backbone.",
            "Set training.trained.type to lora or recovery, or training.teacher.type to self-frozen.",
        )


def _require_cue_to_swap(config: TrainConfig, method: Method) -> None:
    if config.cue_of == "another" and method.privilege != "cue":
        raise _error(
            config,
            "cue_of",
            f"cue_of is another, but the hint contains no cue: the privilege is {method.privilege}.",
            "Set training.privilege to cue, choose a method whose privilege is cue, or remove training.cue_of.",
        )


def _require_usable_rollouts(config: TrainConfig, method: Method) -> None:
    objective, rollout = method.objective, config.rollout
    if config.updates_per_batch > 1 and not objective.is_policy_gradient:
        raise _error(
            config,
            "updates_per_batch",
            f"{config.updates_per_batch} updates a batch need PPO's ratio, which the objective {objective.type} does not have.",
            f"Set it to 1 and raise training.steps, or choose the objective {_policy_gradients()}.",
        )
    # The longest response also limits references, so max_new_tokens has a meaning without rollouts.
    names = [name for name in Sampling.model_fields if name != "max_new_tokens"]
    changed = [name for name in names if getattr(rollout, name) != getattr(Sampling(), name)]
    if not objective.reads and changed:
        raise _error(
            config,
            f"rollout.{changed[0]}",
            f"the objective {objective.type} learns from reference responses and has no rollouts.",
            f"Remove it {_NOT_FOR_THIS_METHOD}.",
        )
    if "advantage" in objective.reads and rollout.temperature == 0:
        raise _error(
            config,
            "rollout.temperature",
            f"at temperature 0 all rollouts of a prompt are equal, but the objective {objective.type} compares their rewards.",
            "Set it to 1.",
        )


def _require_usable_engine(config: TrainConfig, method: Method) -> None:
    rollout = config.rollout
    if not rollout.is_external:
        return
    if not method.objective.reads:
        raise _error(
            config,
            "rollout.engine",
            f"the objective {method.objective.type} learns from reference responses and has no rollouts.",
            f"Remove it {_NOT_FOR_THIS_METHOD}.",
        )
    if config.bar_images:
        raise _error(
            config,
            "rollout.engine",
            "bar_images needs an attention mask that vLLM does not support.",
            "Set training.rollout.engine to transformers, or remove training.bar_images.",
        )
    if rollout.temperature and not _LEAST_TEMPERATURE <= rollout.temperature <= _MOST:
        raise _error(
            config,
            "rollout.temperature",
            f"the temperature is {rollout.temperature:g}, but vLLM supports 0 and {_LEAST_TEMPERATURE} to {_MOST}.",
            "Choose a supported temperature, or set training.rollout.engine to transformers.",
        )
    if abs(rollout.presence_penalty) > _MOST:
        raise _error(
            config,
            "rollout.presence_penalty",
            f"the penalty is {rollout.presence_penalty:g}, but vLLM supports -{_MOST} to {_MOST}.",
            "Choose a supported penalty, or set training.rollout.engine to transformers.",
        )


def _require_usable_staleness(config: TrainConfig, method: Method) -> None:
    if config.staleness and not method.objective.reads:
        raise _error(
            config,
            "staleness",
            f"the objective {method.objective.type} learns from reference responses and has no rollouts that could be sampled ahead.",
            f"Remove it {_NOT_FOR_THIS_METHOD}.",
        )


def _require_usable_correction(config: TrainConfig, method: Method) -> None:
    objective, rollout = method.objective, config.rollout
    if rollout.importance is None or rollout.importance.type == "none":
        return
    if not rollout.is_external and not config.staleness:
        raise _error(
            config,
            "rollout.importance",
            "the student samples its own rollouts, so every importance ratio is 1.",
            "Remove it, or set training.rollout.engine to vllm or training.staleness to 1.",
        )
    if not objective.is_sample_mean:
        fitting = [name for name, kind in OBJECTIVES.items() if kind.signal == "sampled" and kind.reads]
        raise _error(
            config,
            "rollout.importance",
            f"the objective {objective.type} compares distributions: its terms do not depend on which token was sampled.",
            f"Remove it, or choose the objective {_one_of(fitting)}.",
        )


def _require_usable_teacher_engine(config: TrainConfig, method: Method) -> None:
    teacher, objective = method.teacher, method.objective
    if not isinstance(teacher, SelfFrozen | OtherCheckpoint) or not isinstance(teacher.engine, Vllm):
        return
    if objective.signal != "sampled":
        fitting = [name for name, kind in OBJECTIVES.items() if kind.signal == "sampled" and "teacher" in kind.reads]
        raise _error(
            config,
            "teacher.engine",
            f"vLLM returns the teacher's log-probabilities of the sampled tokens only, but the objective {objective.type} needs those of "
            "other tokens.",
            f"Set training.teacher.engine to local, or choose the objective {_one_of(fitting)}.",
        )
    if shared := _shared_servers(config.rollout.engine, teacher.engine):
        raise _error(
            config,
            "teacher.engine",
            f"rollouts and teacher use the same server ({shared[0]}), but it can hold the weights of one of them only.",
            "Start a second server with vicur rollout-server --teacher, and set training.teacher.engine.url to its address.",
        )
    engines = config.engines
    in_processes = {each.settings.tensor_parallel for each in engines.values() if each.placement == "process"}
    if len(in_processes) > 1:
        raise _error(
            config,
            "teacher.engine.tensor_parallel",
            f"it is {teacher.engine.tensor_parallel}, but that of the rollouts' engine is {engines['rollout'].settings.tensor_parallel}: "
            "vLLM divides the training's processes into one kind of groups.",
            "Set both to the same number, or set training.teacher.placement to job.",
        )
    if config.distribution.teacher_devices == "separate" and teacher.placement == "process":
        raise _error(
            config,
            "distribution.teacher_devices",
            "the teacher has separate GPUs, but its vLLM runs inside the training process, on the student's GPU.",
            "Set it to shared, or set training.teacher.placement to job.",
        )


def _shared_servers(first: RolloutEngineConfig, second: Vllm) -> list[str]:
    own = {url.rstrip("/") for url in first.url} if isinstance(first, Vllm) else set()
    return [url for url in second.url if url.rstrip("/") in own]


def _require_distributable(config: TrainConfig, method: Method) -> None:
    distribution, teacher = config.distribution, method.teacher
    if distribution.processes != "auto" and config.batch_size % distribution.processes:
        raise _error(
            config,
            "batch_size",
            f"a batch of {config.batch_size} prompts cannot be divided equally among {distribution.processes} processes.",
            f"Choose a multiple of {distribution.processes}, or another number of processes.",
        )
    if distribution.teacher_devices == "separate" and not _has_own_weights(teacher):
        raise _error(
            config,
            "distribution.teacher_devices",
            "the method has no teacher that could use separate GPUs."
            if isinstance(teacher, NoTeacher)
            else f"a {teacher.type} teacher shares the student's weights, so it cannot use separate GPUs.",
            "Set it to shared, or set training.teacher.type to self-frozen or checkpoint.",
        )
    if distribution.strategy == "fsdp" and isinstance(teacher, SelfAdapterOff) and config.trained.vision:
        raise _error(
            config,
            "distribution.strategy",
            "fsdp shards the vision tower, which all processes must then run at the same time, but a self-adapter-off teacher runs it in "
            "each process for that process's new images only.",
            "Set it to ddp, set training.trained.vision to false, or set training.teacher.type to self-frozen.",
        )


def _has_own_weights(teacher: TeacherConfig) -> bool:
    # Only weights that are neither the student's nor follow it can be on other devices.
    match teacher:
        case SelfFrozen() | OtherCheckpoint():
            return True
        case SelfEma() | SelfAdapterOff() | NoTeacher():
            return False
        case _:
            assert_never(teacher)
