"""Settings of tasks in a cluster: image, resources, placement in a pool of GPUs, time limits, and secrets by name."""

# Image, resources and placement may be parameters of a run. Kubeflow Pipelines fixes time limits, shared memory, labels and names of
# secrets in the package.

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from kfp import dsl, kubernetes
from kfp.dsl.pipeline_channel import PipelineChannel
from vicur_pipelines.tasks import configure_task

from vicur.cluster.jobs.names import PRIORITY, QUEUE
from vicur.config.cluster import DEFAULT_RETRIES, MODELS, ClusterConfig
from vicur.config.compact import compact
from vicur.config.model_address import MODELS_VARIABLE
from vicur.config.sizes import step_size
from vicur.config.tracking import TrackingConfig
from vicur.stage.table import Needs
from vicur.steps.mounted import MOUNTS
from vicur.steps.parameters import TRACKING
from vicur.steps.stage_step import RETRIES

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 (the path that PyTorch uses)
_HOUR = 3600


@dataclass(frozen=True)
class TaskResources:
    """Resources of a task's pod. Each may be a channel of the pipeline."""

    cpu: Any
    memory: Any
    cpu_limit: Any
    gpus: Any = "0"
    selector: Any = None  # of nodes
    tolerations: Any = None


@dataclass(frozen=True)
class Placement:
    """Placement of a run's pods. Each may be a channel of the pipeline."""

    image: Any
    gpu_type: Any  # resource name of a GPU
    node_selector: Any  # of the GPU pool
    tolerations: Any  # of the GPU pool
    # Of the training step, if they differ from those of evaluation: a step that waits for a job needs few resources.
    training: TaskResources | None = None


@dataclass(frozen=True)
class ConfigurePoolTask:
    """Configures the tasks of a package for a cluster; a :class:`~vicur_pipelines.tasks.ConfigureTask`."""

    cluster: ClusterConfig
    placement: Placement
    tracking: TrackingConfig
    processes: int = 1  # that answer benchmarks, each on a GPU

    def __call__(self, task: dsl.PipelineTask, needs: Needs) -> dsl.PipelineTask:
        cluster, trains = self.cluster, needs.gpus == "training"
        configure_task(task, needs, retries=cluster.retries, backoff=cluster.backoff)
        image = cluster.benchmarks_image if needs.harness and cluster.benchmarks_image else self.placement.image
        task.set_container_image(image)
        _pass_into_loops(task, image)
        # A TrainJob has its own limits and waits in the queue itself. This task waits for it without limit.
        launches = trains and cluster.launches_job
        if not launches:
            hours = cluster.training_timeout_hours if trains else cluster.step_timeout_hours
            kubernetes.set_timeout(task, hours * _HOUR)
        self._add_environment(task, needs)
        if needs.models:
            for claim, folder in cluster.mounts.items():
                kubernetes.mount_pvc(task, claim, str(folder))
            if cluster.models_claim:
                task.set_env_variable(MODELS_VARIABLE, str(MODELS))
        resources = self._resources(needs)
        task.set_cpu_request(resources.cpu).set_cpu_limit(resources.cpu_limit)
        task.set_memory_request(resources.memory).set_memory_limit(resources.memory)
        _pass_into_loops(task, resources.cpu, resources.cpu_limit, resources.memory)
        if needs.gpus != "none" and cluster.gpu_count:
            self._place_in_pool(task, resources)
            if cluster.queue and not launches:
                kubernetes.add_pod_label(task, QUEUE, cluster.queue)
                if cluster.jobs.priority:
                    kubernetes.add_pod_label(task, PRIORITY, cluster.jobs.priority)
        return task

    def _resources(self, needs: Needs) -> TaskResources:
        placement, runs_model = self.placement, needs.gpus != "none"
        if needs.gpus == "training" and placement.training is not None:
            return placement.training
        size = step_size(self.cluster, runs_model=runs_model)
        resources = TaskResources(size.cpu, size.memory, size.cpu_limit)
        if not runs_model:
            return resources
        gpus = str(self.processes) if needs.gpus == "processes" else "1"
        return replace(resources, gpus=gpus, selector=placement.node_selector, tolerations=placement.tolerations)

    def _place_in_pool(self, task: dsl.PipelineTask, resources: TaskResources) -> None:
        gpu_type = self.placement.gpu_type
        task.set_accelerator_type(gpu_type).set_accelerator_limit(resources.gpus)
        _pass_into_loops(task, gpu_type, resources.gpus, resources.selector, resources.tolerations)
        kubernetes.add_node_selector_json(task, resources.selector)
        kubernetes.add_toleration_json(task, resources.tolerations)
        kubernetes.empty_dir_mount(
            task, volume_name="shm", mount_path=_SHARED_MEMORY, medium="Memory", size_limit=self.cluster.shared_memory
        )

    def _add_environment(self, task: dsl.PipelineTask, needs: Needs) -> None:
        if needs.tracking and (tracking := compact(self.tracking)):
            # Not a parameter, which the platform's cache would take for a reason to train again.
            task.set_env_variable(TRACKING, json.dumps(tracking, sort_keys=True))
        if self.cluster.retries != DEFAULT_RETRIES:
            task.set_env_variable(RETRIES, str(self.cluster.retries))
        secrets = self.cluster.secrets
        # Least privilege: only the steps that call a service get its secrets.
        mounted = {"storage": secrets.storage}
        if needs.tracking:
            mounted["mlflow"] = secrets.tracking
        if needs.cue_key:
            mounted["cues"] = secrets.cues
        if needs.judge_key:
            mounted["judge"] = secrets.judge
        if needs.webhook:
            mounted["webhook"] = secrets.webhook
        if needs.hub:
            mounted["hub"] = secrets.hub
        # KFP calls a volume as its secret, and a pod may have one volume of a name: a secret for several purposes is mounted once.
        folders = {secret: name for name, secret in mounted.items() if secret}
        for secret, name in folders.items():
            kubernetes.use_secret_as_volume(task, secret, f"{MOUNTS}/{name}", optional=True)
        if self.cluster.endpoints:
            kubernetes.use_config_map_as_volume(task, self.cluster.endpoints, f"{MOUNTS}/endpoints", optional=True)


def _pass_into_loops(task: dsl.PipelineTask, *values: Any) -> None:
    # KFP 2.17 does not pass the parameters of a task's pod on into a loop, and its driver then fails at run time.
    task.register_pipeline_channels([value for value in values if isinstance(value, PipelineChannel)])
