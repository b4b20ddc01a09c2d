"""Where on a cluster a training takes place."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from vicur.config.base import Section

Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
"""An amount as Kubernetes writes it: ``8``, ``500m``, ``64Gi``."""


class TrainJobConfig(Section):
    """The nodes of a training. Above one, a TrainJob of Kubeflow Trainer runs it, and the step follows that (docs/multi-node.md).

    What is the same for all trainings of a cluster (security, volumes, /dev/shm, the secrets' names) stands in the training runtime.
    """

    nodes: int = Field(default=1, ge=1, le=512)
    """Machines that train together; 1 trains in the step itself."""
    gpus: int = Field(default=8, ge=0)
    """GPUs of each node; 0 trains on CPUs."""
    gpu_resource: str = "nvidia.com/gpu"
    """What the cluster calls a GPU."""
    cpu: Quantity = "16"
    """CPUs of each node."""
    memory: Quantity = "128Gi"
    """Memory of each node."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels that a node must have: the GPU pool."""
    tolerations: tuple[dict[str, str | int], ...] = ()
    """Taints that the pods bear, as Kubernetes writes them: ``{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}``."""
    queue: str = ""
    """Kueue's LocalQueue; empty starts without a queue."""
    priority: str = ""
    """Kueue's WorkloadPriorityClass."""
    image: str = ""
    """Container image of the nodes. Empty: the one that the step itself runs in."""
    namespace: str = ""
    """Where the job is made. Empty: where the step itself runs."""
    runtime: str = "vicur-torch"
    """Training runtime that the job refers to."""
    runtime_kind: Literal["TrainingRuntime", "ClusterTrainingRuntime"] = "TrainingRuntime"
    """Whether the runtime is the namespace's own or the cluster's."""
    shared_folders: tuple[str, ...] = ("/models",)
    """Folders that are mounted in step and nodes alike, from the same volume. Inputs below them are read in place, others go through S3."""
    queue_hours: float | None = Field(default=None, gt=0)
    """Longest wait in the queue; left out, as long as it takes."""
    start_minutes: float = Field(default=60, gt=0)
    """Longest time from admission until all nodes run: images are pulled and machines are added in it."""
    run_hours: float = Field(default=168, gt=0)
    """Longest time from the start of all nodes. One that hangs is ended by it, and a retry goes on from the last checkpoint."""

    @field_validator("tolerations")
    @classmethod
    def _are_tolerations(cls, tolerations: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        known = {"key", "operator", "value", "effect", "tolerationSeconds"}
        unknown = sorted({name for each in tolerations for name in each.keys() - known})
        if unknown:
            raise ValueError(f"a toleration has no field {unknown[0]!r}")
        return tolerations

    @field_validator("shared_folders")
    @classmethod
    def _are_absolute(cls, folders: tuple[str, ...]) -> tuple[str, ...]:
        if not all(folder.startswith("/") and folder.strip("/") for folder in folders):
            raise ValueError("input should be absolute paths below the root")
        return folders
