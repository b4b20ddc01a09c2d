"""Resources of the steps in a cluster, by the base model: little for the tiny one, room for a large one for any other checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from vicur.config.base import SHIPPED, BaseModelConfig
from vicur.config.cells import Cell
from vicur.config.cluster import ClusterConfig, StepResources
from vicur.config.teacher import OtherCheckpoint


class _Config(Protocol):
    """What sizes depend on in the configuration of a pipeline."""

    @property
    def base(self) -> BaseModelConfig: ...
    @property
    def cluster(self) -> ClusterConfig: ...
    def cells(self) -> Sequence[Cell]: ...
    def model_copy(self, *, update: Mapping[str, Any]) -> Any: ...


C = TypeVar("C", bound=_Config)

# Measured with configs/local.yaml on a CPU: see docs/first-run.md. Requests are small and the CPU limit is not, so that a step fits a
# busy node and still imports torch in seconds.
_TINY_STEPS = StepResources(cpu="200m", cpu_limit="1", memory="1500Mi")
_TINY_MODEL_STEPS = StepResources(cpu="200m", cpu_limit="1", memory="2500Mi")
_STEPS = StepResources(cpu="2", memory="8Gi")
_MODEL_STEPS = StepResources(cpu="8", memory="64Gi")


def sized(config: C) -> C:
    """Return ``config`` with the resources of all kinds of steps spelled out. Explicit settings are kept."""
    tiny = not config.cluster.gpu_count and _is_tiny(config)
    cluster = config.cluster
    sizes = {
        "steps": cluster.steps.over(_TINY_STEPS if tiny else _STEPS),
        "cpu_steps": cluster.cpu_steps.over(_TINY_MODEL_STEPS if tiny else _MODEL_STEPS),
        "gpu_steps": cluster.gpu_steps.over(_MODEL_STEPS),
    }
    changed: C = config.model_copy(update={"cluster": cluster.model_copy(update=sizes)})
    return changed


def step_size(cluster: ClusterConfig, *, runs_model: bool) -> StepResources:
    """Return the resources of evaluation and training (``runs_model``) or of the other steps, those for any checkpoint if unset."""
    if not runs_model:
        return cluster.steps.over(_STEPS)
    return (cluster.gpu_steps if cluster.gpu_count else cluster.cpu_steps).over(_MODEL_STEPS)


def server_size(cluster: ClusterConfig) -> StepResources:
    """Return the resources of a server of a job, besides its GPUs."""
    return cluster.servers.over(_MODEL_STEPS)


def ignored_sizes(cluster: ClusterConfig) -> str:
    """Return the setting of a size that no step uses, or an empty string."""
    unused = "cpu_steps" if cluster.gpu_count else "gpu_steps"
    return f"cluster.{unused}" if getattr(cluster, unused) != StepResources() else ""


def is_sized_for_tiny(config: _Config) -> bool:
    """Return whether a run of another base has the resources of one of the tiny base, as in a package whose form names another student."""
    return not _is_tiny(config) and not config.cluster.gpu_count and config.cluster.cpu_steps == _TINY_MODEL_STEPS


def _is_tiny(config: _Config) -> bool:
    # With GPUs a package is made for a form in which the student is chosen later, so only runs without any are sized by the tiny base.
    teachers = [cell.training.effective.teacher for cell in config.cells()]
    others = [str(teacher.path) for teacher in teachers if isinstance(teacher, OtherCheckpoint)]
    return all(path in SHIPPED for path in (config.base.path, *others))
