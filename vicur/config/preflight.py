"""Requirements of a run, which preflight and ``vicur doctor`` check."""

from __future__ import annotations

from pydantic import Field

from vicur.config.cluster import Toleration
from vicur.config.data import DataConfig
from vicur.config.kubernetes import Cores, LabelKey, LabelValue, Memory, ObjectName
from vicur.config.reader import ReaderConfig
from vicur.config.section import Section


class GpuPool(Section):
    """The nodes of a training."""

    resource: str = "nvidia.com/gpu"
    """Resource name of a GPU."""
    gpus: int = Field(1, ge=1, le=16)
    """GPUs of a training on each node."""
    nodes: int = Field(1, ge=1)
    """Nodes of a training."""
    server_gpus: int = Field(0, ge=0)
    """GPUs of the servers that run in a training's job, in separate pods."""
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels of the nodes."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of the nodes that pods tolerate."""
    autoscaled: bool = False
    """Set if the cluster adds nodes on demand, so that none needs to exist now."""

    @property
    def all_gpus(self) -> int:
        """GPUs of a training on all its nodes, with those of its servers."""
        return self.gpus * self.nodes + self.server_gpus


class StepRequest(Section):
    """What the pods of some steps request."""

    steps: tuple[str, ...]
    """Names of the steps."""
    setting: str = "cluster.steps"
    """Setting of their resources."""
    cpu: Cores
    """Requested CPU cores of a pod."""
    cpu_limit: Cores
    """Most CPU cores that a pod may use."""
    memory: Memory
    """Requested memory of a pod, and its limit."""
    gpus: int = Field(0, ge=0)
    """GPUs of a pod."""
    gpu_type: str = "nvidia.com/gpu"
    """Resource name of a GPU."""
    pods: int = Field(1, ge=1)
    """Pods that must run at the same time."""
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels of the nodes."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of the nodes that the pods tolerate."""
    queued: bool = False
    """Whether the pods wait in the Kueue queue."""


class PreflightConfig(Section):
    """Requirements that are checked before a run allocates GPUs. Missing ones are not checked."""

    namespace: str = "vicur"
    """Namespace of the pods."""
    pool: GpuPool | None = None
    """The nodes of a training."""
    steps: tuple[StepRequest, ...] = ()
    """Requests of the steps' pods, which must fit the nodes, the quotas and the queue."""
    sized_for_tiny: bool = False
    """Whether the steps have the resources of a run of the tiny model, although another one is trained."""
    autoscaled: bool = False
    """Set if the cluster adds nodes on demand, so that a step may fit none of those that exist now."""
    trainer: bool = False
    """Require Kubeflow Trainer, for trainings that run as TrainJobs."""
    servers: bool = False
    """Require what jobs with servers need in addition."""
    queue: str | None = None
    """Kueue LocalQueue of the trainings."""
    pipelines_namespace: ObjectName = "kubeflow"
    """Namespace of Kubeflow Pipelines, whose settings say which failures it retries."""
    endpoints: ObjectName = ""
    """ConfigMap that steps read the addresses of MLflow and S3 from."""
    buckets: tuple[str, ...] = ()
    """S3 addresses (``s3://bucket/prefix``) that steps read and write."""
    models: tuple[str, ...] = ()
    """Models that steps load: a folder, ``s3://bucket/prefix``, ``hf://owner/name@COMMIT``, or one that this package ships."""
    dataset: DataConfig | None = None
    """The dataset, as in the section ``data``."""
    reader: ReaderConfig | None = None
    """The base and its prompts. Questions that it cannot spell, or that are too long for it, are found before cues are paid for."""
    cue_endpoint: str | None = None
    """Address of the OpenAI-compatible server of the cue model, with its version (``http://cue-model:8000/v1``)."""
    cue_model: str | None = None
    """Name of the cue model on that server."""
    cue_key_variable: str = "VICUR_CUE_API_KEY"
    """Environment variable with the server's API key. If it is not set, no key is sent."""
    model_registry: str | None = None
    """Address of the Kubeflow Model Registry that versions are also listed in."""
    scratch: str = "."
    """Folder whose disk is checked."""
    free_gib: float = Field(10.0, ge=0)
    """Free space that the disk must have, in GiB."""
    seconds: float = Field(25.0, gt=0, le=50)
    """Time limit of each check, in seconds. Checks run concurrently."""
