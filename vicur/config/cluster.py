"""Where a cluster runs the steps of a pipeline, and what a GPU there costs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vicur.config.allowed import Form
from vicur.config.jobs import JobsConfig
from vicur.config.kubernetes import (
    Cores,
    Duration,
    ImageName,
    LabelKey,
    LabelValue,
    Memory,
    ObjectName,
    QueueName,
    TaintKey,
)
from vicur.config.section import Section


class StepResources(Section):
    """What a step asks for, and may use at most: the same, so that a node's other pods cannot be starved."""

    cpu: Cores = "2"
    """Processor cores."""
    memory: Memory = "8Gi"
    """Memory, the shared memory of its processes included."""


class Toleration(Section):
    """A taint that pods of a pool may be placed in spite of, as Kubernetes has it."""

    key: TaintKey = ""
    """The taint's key; empty with ``Exists`` means every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Whether the key alone counts, or its value too."""
    value: LabelValue = ""
    """The taint's value, with ``Equal``."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute", ""] = ""
    """What the taint does; empty for every effect."""

    @model_validator(mode="after")
    def _value_is_used(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise ValueError(f"operator Exists takes no value: leave out {self.value!r}, or take Equal")
        if self.operator == "Equal" and not self.key:
            raise ValueError("operator Equal needs a key")
        return self


class SecretNames(Section):
    """Secrets of the namespace that steps read their environment from. Names only: no value ever passes through a pipeline."""

    storage: ObjectName = "vicur-s3"
    """Holds ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``."""
    tracking: ObjectName = "vicur-mlflow"
    """Holds ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD``."""
    cues: ObjectName = "vicur-cue"
    """Holds ``VICUR_CUE_API_KEY``, the key of the cue model's endpoint."""
    webhook: ObjectName = "vicur-webhook"
    """Holds ``VICUR_WEBHOOK_URL``, which is told how a run ended."""


class ClusterConfig(Section):
    """Where a cluster runs the steps. A run on this machine reads none of it.

    What Kubeflow Pipelines lets a person choose when a run is started are the parameters of the package; these settings are their defaults.
    Timeouts, shared memory, queue, retries and names of secrets are fixed when the package is compiled.
    """

    image: ImageName = ""
    """Container image of the steps; empty for the one that this release names."""
    gpu_type: Annotated[str, Form("the resource name of a GPU, such as nvidia.com/gpu")] = Field(
        default="nvidia.com/gpu", pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$"
    )
    """The resource that a GPU is, as nodes advertise it."""
    gpu_count: int = Field(default=1, ge=0, le=16)
    """GPUs of a training on each node; 0 trains on the processor."""
    nodes: int = Field(default=1, ge=1, le=64)
    """Nodes of a training. More than one are a TrainJob of their own."""
    jobs: JobsConfig = JobsConfig()
    """Those TrainJobs."""
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels that the nodes of the GPU pool have."""
    tolerations: tuple[Toleration, ...] = (Toleration(key="nvidia.com/gpu", operator="Exists"),)
    """Taints of the GPU pool."""
    queue: QueueName = ""
    """Kueue's LocalQueue for the steps that hold GPUs."""
    steps: StepResources = StepResources(cpu="2", memory="8Gi")
    """Of the steps without a GPU."""
    gpu_steps: StepResources = StepResources(cpu="8", memory="64Gi")
    """Of evaluation and training."""
    shared_memory: Memory = "16Gi"
    """``/dev/shm`` of the steps with GPUs, held in memory: PyTorch's processes pass tensors through it."""
    step_timeout_hours: int = Field(default=12, ge=1, le=8760)
    """Longest time of a step other than training."""
    training_timeout_hours: int = Field(default=168, ge=1, le=8760)
    """Longest time of an attempt at training."""
    retries: int = Field(default=3, ge=0, le=20)
    """How often a step that failed is tried again. A training goes on from its last checkpoint."""
    backoff: Duration = "60s"
    """Pause before the first retry; it doubles with each."""
    autoscaled: bool = False
    """Whether nodes are added when pods ask for them: that none is there when a run starts is no failure then."""
    namespace: ObjectName = "vicur"
    """Where the pods run: ``vicur doctor`` looks at its quota and queue. The first step is there, and looks at those of its own."""
    look: bool = True
    """Whether the first step looks at what a run needs of its surroundings, and not at the configuration alone."""
    models_claim: ObjectName = "vicur-models"
    """PersistentVolumeClaim with the base weights, mounted at ``/models``; empty for none."""
    endpoints: ObjectName = "vicur-endpoints"
    """ConfigMap with ``MLFLOW_TRACKING_URI``, ``AWS_ENDPOINT_URL_S3`` and ``AWS_DEFAULT_REGION``."""
    secrets: SecretNames = SecretNames()
    """Secrets by name."""
    prices: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """What an hour of one GPU costs, in ``currency``: by the value of a label in ``node_selector`` (``NVIDIA-H100-80GB-HBM3``), else by
    ``gpu_type``. Without a price, a run's cost is left out and said to be unknown."""
    currency: Annotated[str, Form("a currency code of three capital letters, such as USD")] = Field(
        default="USD", pattern=r"^[A-Z]{3}$"
    )
    """Currency of ``prices``."""

    def price(self) -> float | None:
        """What an hour of one GPU of the pool costs; ``None`` where the table has no price for it."""
        for name in (*self.node_selector.values(), self.gpu_type):
            if name in self.prices:
                return self.prices[name]
        return None
