"""Settings of tasks in a cluster: image, resources, placement in a pool of GPUs, time limits, and secrets by name."""

# Image, resources and placement may be parameters of a run. Kubeflow Pipelines fixes time limits, shared memory, labels and names of
# secrets in the package.

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from kfp import dsl, kubernetes
from kfp.dsl.pipeline_channel import PipelineChannel
from vicur_pipelines.tasks import configure_task

from vicur.cluster.jobs.names import PRIORITY, QUEUE
from vicur.config.cluster import DEFAULT_RETRIES, MODELS, ClusterConfig
from vicur.config.model_address import MODELS_VARIABLE
from vicur.config.sizes import step_size
from vicur.stage.table import Needs
from vicur.steps.stage_step import RETRIES
from vicur.tracking import injected


def _same(*names: str) -> dict[str, str]:
    """Return variables that are called like their keys in a secret or ConfigMap."""
    return {name: name for name in names}


_SHARED_MEMORY = "/dev/shm"  # noqa: S108 (the path that PyTorch uses)
_STORAGE = _same("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
# Keys are MLflow's names. The variables are ours, because KFP's MLflow plugin sets MLflow's.
_TRACKING = {injected.NAMES[name]: name for name in (injected.USERNAME, injected.PASSWORD)}
_ENDPOINTS = {injected.NAMES[injected.URI]: injected.URI, **_same("AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION")}
_HOUR = 3600


@dataclass(frozen=True)
class TaskResources:
    """Resources of a task's pod. Each may be a channel of the pipeline."""

    cpu: Any
    memory: Any
    cpu_limit: Any
    gpus: Any = "0"
    node_selector: Any = None
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

    def __call__(self, task: dsl.PipelineTask, needs: Needs) -> dsl.PipelineTask:
        cluster, trains = self.cluster, needs.gpus == "training"
        configure_task(task, needs, retries=cluster.retries, backoff=cluster.backoff)
        task.set_container_image(self.placement.image)
        _pass_into_loops(task, self.placement.image)
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
        return replace(resources, gpus="1", node_selector=placement.node_selector, tolerations=placement.tolerations)

    def _place_in_pool(self, task: dsl.PipelineTask, resources: TaskResources) -> None:
        gpu_type = self.placement.gpu_type
        task.set_accelerator_type(gpu_type).set_accelerator_limit(resources.gpus)
        _pass_into_loops(task, gpu_type, resources.gpus, resources.node_selector, resources.tolerations)
        kubernetes.add_node_selector_json(task, resources.node_selector)
        kubernetes.add_toleration_json(task, resources.tolerations)
        kubernetes.empty_dir_mount(
            task, volume_name="shm", mount_path=_SHARED_MEMORY, medium="Memory", size_limit=self.cluster.shared_memory
        )

    def _add_environment(self, task: dsl.PipelineTask, needs: Needs) -> None:
        if self.cluster.retries != DEFAULT_RETRIES:
            task.set_env_variable(RETRIES, str(self.cluster.retries))
        secrets = self.cluster.secrets
        # Least privilege: only the steps that call the cue model or the webhook get their secrets.
        variables = [(secrets.storage, _STORAGE), (secrets.tracking, _TRACKING)]
        if needs.cue_key:
            variables.append((secrets.cues, _same("VICUR_CUE_API_KEY")))
        if needs.webhook:
            variables.append((secrets.webhook, _same("VICUR_WEBHOOK_URL")))
        if needs.hub:
            variables.append((secrets.hub, _same("HF_TOKEN")))
        for secret, names in variables:
            if secret:
                kubernetes.use_secret_as_env(task, secret, names, optional=True)
        if self.cluster.endpoints:
            endpoints = {**_ENDPOINTS, **_same("HF_ENDPOINT")} if needs.hub else _ENDPOINTS
            kubernetes.use_config_map_as_env(task, self.cluster.endpoints, endpoints, optional=True)


def _pass_into_loops(task: dsl.PipelineTask, *values: Any) -> None:
    # KFP 2.17 does not pass the parameters of a task's pod on into a loop, and its driver then fails at run time.
    task.register_pipeline_channels([value for value in values if isinstance(value, PipelineChannel)])
