"""What a step has in a cluster: an image, resources, a place in a pool of GPUs, time, secrets by name.

Kubeflow Pipelines lets image, resources and placement be parameters of a run; timeouts, shared memory, labels and names of secrets are
fixed in the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes
from kfp.dsl.pipeline_channel import PipelineChannel
from vicur_pipelines.settings import Place, settled

from vicur.config.pools import PoolsConfig

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 (the path that PyTorch uses)
MODELS = "/models"
"""Where steps find the base weights."""
_STORAGE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_TRACKING = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
_ENDPOINTS = ("MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION")
_HOUR = 3600


@dataclass(frozen=True)
class Placement:
    """Where a run puts its steps, as parameters of the pipeline.

    Attributes:
        image: container image.
        gpu_type: the resource that a GPU is.
        node_selector: labels of the pool's nodes.
        tolerations: its taints.
        step_gpus: GPUs of a training step.
        step_cpu: its processor cores.
        step_memory: its memory.
    """

    image: Any
    gpu_type: Any
    node_selector: Any
    tolerations: Any
    step_gpus: Any = "0"
    step_cpu: Any = ""
    step_memory: Any = ""


@dataclass(frozen=True)
class InPools:
    """Gives a step of a cluster's pipeline what every one has.

    Attributes:
        pools: the section ``cluster``.
        placement: where the run puts its steps.
    """

    pools: PoolsConfig
    placement: Placement

    def __call__(self, task: dsl.PipelineTask, *, caching: bool = True, place: Place = "anywhere") -> dsl.PipelineTask:
        """Settles ``task``; see :func:`vicur_pipelines.settings.settled`."""
        pools = self.pools
        settled(task, retries=pools.retries, backoff=pools.backoff, caching=caching)
        task.set_container_image(self.placement.image)
        task.register_pipeline_channels(_channels(self.placement.image))
        hours = pools.training_timeout_hours if place == "training" else pools.step_timeout_hours
        # A training of several nodes keeps its own limits: its wait in a queue may have none.
        if place != "training" or pools.nodes == 1:
            kubernetes.set_timeout(task, hours * _HOUR)
        self._environment(task)
        if pools.models_claim and task.component_spec.name in ("preflight", "base", "train"):
            kubernetes.mount_pvc(task, pools.models_claim, MODELS)
        cpu, memory = self._resources(place)
        task.set_cpu_request(cpu).set_cpu_limit(cpu).set_memory_request(memory).set_memory_limit(memory)
        task.register_pipeline_channels(_channels(cpu, memory))
        if place != "anywhere" and pools.gpu_count:
            self._in_the_pool(task, self.placement.step_gpus if place == "training" else "1")
        return task

    def _resources(self, place: Place) -> tuple[Any, Any]:
        """Cores and memory. A training that is a job of its own leaves a step that only waits."""
        if place == "training":
            return self.placement.step_cpu, self.placement.step_memory
        resources = self.pools.steps if place == "anywhere" else self.pools.gpu_steps
        return resources.cpu, resources.memory

    def _in_the_pool(self, task: dsl.PipelineTask, gpus: Any) -> None:
        where = self.placement
        task.set_accelerator_type(where.gpu_type).set_accelerator_limit(gpus)
        # KFP 2.17 forgets to hand these parameters on into a loop.
        task.register_pipeline_channels(_channels(where.gpu_type, gpus, where.node_selector, where.tolerations))
        kubernetes.add_node_selector_json(task, where.node_selector)
        kubernetes.add_toleration_json(task, where.tolerations)
        kubernetes.empty_dir_mount(
            task, volume_name="shm", mount_path=_SHARED_MEMORY, medium="Memory", size_limit=self.pools.shared_memory
        )
        if self.pools.queue:
            kubernetes.add_pod_label(task, "kueue.x-k8s.io/queue-name", self.pools.queue)

    def _environment(self, task: dsl.PipelineTask) -> None:
        secrets, step = self.pools.secrets, task.component_spec.name
        # Least privilege: the cue model's key is for what asks it, the webhook's address for what calls it.
        given = [(secrets.storage, _STORAGE), (secrets.tracking, _TRACKING)]
        if step in ("preflight", "extract"):
            given.append((secrets.cues, ("VICUR_CUE_API_KEY",)))
        if step == "outcome":
            given.append((secrets.webhook, ("VICUR_WEBHOOK_URL",)))
        for name, variables in given:
            if name:
                kubernetes.use_secret_as_env(task, name, {each: each for each in variables}, optional=True)
        if self.pools.endpoints:
            kubernetes.use_config_map_as_env(
                task, self.pools.endpoints, {each: each for each in _ENDPOINTS}, optional=True
            )


def _channels(*values: Any) -> list[Any]:
    return [value for value in values if isinstance(value, PipelineChannel)]
