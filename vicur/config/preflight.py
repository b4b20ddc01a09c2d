"""What a run needs of a cluster."""

from __future__ import annotations

from pydantic import Field

from vicur.config.cluster import Toleration
from vicur.config.data import DataConfig
from vicur.config.kubernetes import LabelKey, LabelValue
from vicur.config.section import Section


class GpuPool(Section):
    """The nodes that train."""

    resource: str = "nvidia.com/gpu"
    """What the cluster calls its GPUs."""
    gpus: int = Field(1, ge=1, le=16)
    """GPUs of a node that a training takes."""
    nodes: int = Field(1, ge=1)
    """Nodes that a training takes."""
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels of the nodes."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of the nodes that the pods put up with."""
    autoscaled: bool = False
    """Whether nodes are added when pods ask for them: that none is there now is no failure then."""


class PreflightConfig(Section):
    """What is looked at before a run asks for a GPU. What is left out is not looked at."""

    namespace: str = "vicur"
    """Where the pods run."""
    pool: GpuPool | None = None
    """The nodes that train."""
    trainer: bool = False
    """Whether trainings are jobs of Kubeflow Trainer, as those of several nodes are."""
    queue: str | None = None
    """Kueue's LocalQueue that trainings wait in."""
    buckets: tuple[str, ...] = ()
    """Places on S3 (``s3://bucket/prefix``) that steps read and write."""
    models: tuple[str, ...] = ()
    """Models that steps load: a folder, ``s3://bucket/prefix``, ``hf://organisation/name@revision``, or one that ships here."""
    dataset: DataConfig | None = None
    """The dataset, as the section ``data`` names it."""
    cue_endpoint: str | None = None
    """Address of an OpenAI-compatible server that makes cues, with its version (``http://cue-model:8000/v1``)."""
    cue_model: str | None = None
    """Model that it must serve."""
    cue_key_variable: str = "VICUR_CUE_API_KEY"
    """Variable of the environment that holds its key; where it is not set, none is sent."""
    scratch: str = "."
    """Folder whose disk is looked at."""
    free_gib: float = Field(10.0, ge=0)
    """Space that the disk must have left, in GiB."""
    seconds: float = Field(25.0, gt=0, le=50)
    """How long a check may take, in seconds; they run side by side."""
