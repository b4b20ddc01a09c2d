"""The jobs that train on several nodes of a cluster."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from vicur.config.kubernetes import ObjectName, QueueName
from vicur.config.section import Section


class JobsConfig(Section):
    """TrainJobs of Kubeflow Trainer, one a training (docs/multi-node.md).

    What is the same for all of them (security, volumes, /dev/shm, the secrets' names) stands in the training runtime that they refer to.
    """

    runtime: ObjectName = "vicur-torch"
    """Training runtime that jobs refer to."""
    runtime_kind: Literal["TrainingRuntime", "ClusterTrainingRuntime"] = "TrainingRuntime"
    """Whether the runtime is the namespace's own or the cluster's."""
    priority: QueueName = ""
    """Kueue's WorkloadPriorityClass, where there is a queue: of the jobs, and of steps that hold GPUs themselves."""
    shared_folders: tuple[str, ...] = ("/models",)
    """Folders that are mounted in step and nodes alike, from the same volume. Inputs below them are read in place, others go through S3."""
    queue_hours: float | None = Field(default=None, gt=0)
    """Longest wait in the queue; left out, as long as it takes."""
    start_minutes: float = Field(default=60, gt=0)
    """Longest time from admission until all nodes run: images are pulled and machines are added in it."""

    @field_validator("shared_folders")
    @classmethod
    def _are_absolute(cls, folders: tuple[str, ...]) -> tuple[str, ...]:
        if not all(folder.startswith("/") and folder.strip("/") for folder in folders):
            raise ValueError("must be absolute paths of folders, such as /models")
        return folders
