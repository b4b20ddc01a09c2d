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

from vicur.cluster.jobs.names import PRIORITY, QUEUE
from vicur.config.cluster import ClusterConfig

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 (the path that PyTorch uses)
MODELS = "/models"
"""Where steps find the base weights."""
_STORAGE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_TRACKING = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
_ENDPOINTS = ("MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION")
_HOUR = 3600


@dataclass(frozen=True)
class Room:
    """What a step has of a machine; each may be a parameter of the pipeline.

    Attributes:
        cpu: processor cores.
        memory: memory.
        gpus: GPUs.
        node_selector: labels of the nodes that it may run on.
        tolerations: taints that it tolerates.
    """

    cpu: Any
    memory: Any
    gpus: Any = "0"
    node_selector: Any = None
    tolerations: Any = None


@dataclass(frozen=True)
class Placement:
    """Where a run puts its steps, as parameters of the pipeline.

    Attributes:
        image: container image.
        gpu_type: the resource that a GPU is.
        node_selector: labels of the pool's nodes.
        tolerations: its taints.
        training: what a training step has: one that only waits for a job of its own has little.
    """

    image: Any
    gpu_type: Any
    node_selector: Any
    tolerations: Any
    training: Room | None = None


@dataclass(frozen=True)
class InPools:
    """Gives a step of a cluster's pipeline what every one has.

    Attributes:
        pools: the section ``cluster``.
        placement: where the run puts its steps.
    """

    pools: ClusterConfig
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
        # The steps that read folders, and the first one, which looks for these in their place.
        if pools.models_claim and task.component_spec.name in ("preflight", "prepare", "base", "train"):
            kubernetes.mount_pvc(task, pools.models_claim, MODELS)
        room = self._room(place)
        task.set_cpu_request(room.cpu).set_cpu_limit(room.cpu)
        task.set_memory_request(room.memory).set_memory_limit(room.memory)
        # KFP 2.17 forgets to hand the parameters of resources on into a loop.
        task.register_pipeline_channels(_channels(room.cpu, room.memory))
        if place != "anywhere" and pools.gpu_count:
            self._in_the_pool(task, room)
            # A training of several nodes is a job of its own, which waits in the queue itself.
            if pools.queue and (place != "training" or pools.nodes == 1):
                kubernetes.add_pod_label(task, QUEUE, pools.queue)
                if pools.jobs.priority:
                    kubernetes.add_pod_label(task, PRIORITY, pools.jobs.priority)
        return task

    def _room(self, place: Place) -> Room:
        where, pools = self.placement, self.pools
        if place == "anywhere":
            return Room(pools.steps.cpu, pools.steps.memory)
        if place == "training" and where.training is not None:
            return where.training
        return Room(pools.gpu_steps.cpu, pools.gpu_steps.memory, "1", where.node_selector, where.tolerations)

    def _in_the_pool(self, task: dsl.PipelineTask, room: Room) -> None:
        gpu_type = self.placement.gpu_type
        task.set_accelerator_type(gpu_type).set_accelerator_limit(room.gpus)
        task.register_pipeline_channels(_channels(gpu_type, room.gpus, room.node_selector, room.tolerations))
        kubernetes.add_node_selector_json(task, room.node_selector)
        kubernetes.add_toleration_json(task, room.tolerations)
        kubernetes.empty_dir_mount(
            task, volume_name="shm", mount_path=_SHARED_MEMORY, medium="Memory", size_limit=self.pools.shared_memory
        )

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
