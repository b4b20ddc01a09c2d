"""Requirements of a run, which preflight and ``vicur doctor`` check."""

from __future__ import annotations

from pydantic import Field

from vicur.config.cluster import Toleration
from vicur.config.data import DataConfig
from vicur.config.kubernetes import LabelKey, LabelValue
from vicur.config.section import Section


class GpuPool(Section):
    """The nodes of a training."""

    resource: str = "nvidia.com/gpu"
    """Resource name of a GPU."""
    gpus: int = Field(1, ge=1, le=16)
    """GPUs of a training on each node."""
    nodes: int = Field(1, ge=1)
    """Nodes of a training."""
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels of the nodes."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of the nodes that pods tolerate."""
    autoscaled: bool = False
    """Set if the cluster adds nodes on demand, so that none needs to exist now."""


class PreflightConfig(Section):
    """Requirements that are checked before a run allocates GPUs. Missing ones are not checked."""

    namespace: str = "vicur"
    """Namespace of the pods."""
    pool: GpuPool | None = None
    """The nodes of a training."""
    trainer: bool = False
    """Require Kubeflow Trainer, for trainings that run as TrainJobs."""
    queue: str | None = None
    """Kueue LocalQueue of the trainings."""
    buckets: tuple[str, ...] = ()
    """S3 addresses (``s3://bucket/prefix``) that steps read and write."""
    models: tuple[str, ...] = ()
    """Models that steps load: a folder, ``s3://bucket/prefix``, ``hf://owner/name@COMMIT``, or one that this package ships."""
    dataset: DataConfig | None = None
    """The dataset, as in the section ``data``."""
    cue_endpoint: str | None = None
    """Address of the OpenAI-compatible server of the cue model, with its version (``http://cue-model:8000/v1``)."""
    cue_model: str | None = None
    """Name of the cue model on that server."""
    cue_key_variable: str = "VICUR_CUE_API_KEY"
    """Environment variable with the server's API key. If it is not set, no key is sent."""
    scratch: str = "."
    """Folder whose disk is checked."""
    free_gib: float = Field(10.0, ge=0)
    """Free space that the disk must have, in GiB."""
    seconds: float = Field(25.0, gt=0, le=50)
    """Time limit of each check, in seconds. Checks run concurrently."""
