"""Configuration of the jobs that run trainings in a cluster."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from vicur.config.kubernetes import ObjectName, QueueName
from vicur.config.section import Section


class JobsConfig(Section):
    """TrainJobs of Kubeflow Trainer, one per training (docs/multi-node.md).

    The training runtime that they refer to defines what they have in common: security, volumes, /dev/shm, and names of secrets.
    """

    always: bool = False
    """Run a training on one node as a TrainJob, too: its pod receives SIGTERM and writes a checkpoint, which the step's own cannot."""
    runtime: ObjectName = "vicur-torch"
    """Training runtime that jobs refer to."""
    runtime_kind: Literal["TrainingRuntime", "ClusterTrainingRuntime"] = "TrainingRuntime"
    """Kind of the runtime: one of the namespace, or one of the cluster."""
    priority: QueueName = ""
    """Kueue WorkloadPriorityClass of the jobs and of the steps with GPUs, if there is a queue."""
    shared_folders: tuple[str, ...] = ("/models",)
    """Folders of a volume that both the step and the nodes mount. The nodes read inputs below them in place; others go through S3."""
    queue_hours: float | None = Field(default=None, gt=0)
    """Longest wait in the queue; unlimited by default."""
    start_minutes: float = Field(default=60, gt=0)
    """Longest time from admission until all nodes run. It includes pulling images and adding machines."""

    @field_validator("shared_folders")
    @classmethod
    def _are_absolute(cls, folders: tuple[str, ...]) -> tuple[str, ...]:
        if not all(folder.startswith("/") and folder.strip("/") for folder in folders):
            raise ValueError("must be absolute paths of folders, such as /models")
        return folders
