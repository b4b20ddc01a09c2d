"""Configuration of how a cluster runs the steps of a pipeline, and of the price of its GPUs."""

from __future__ import annotations

from pathlib import Path
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

MODELS = Path("/models")
"""Mount point of the volume with models."""


class StepResources(Section):
    """Resources of a step. Requests equal limits, so that a step cannot starve other pods on its node."""

    cpu: Cores = "2"
    """CPU cores."""
    memory: Memory = "8Gi"
    """Memory, including the shared memory of its processes."""


class Toleration(Section):
    """A toleration of pods, as in Kubernetes."""

    key: TaintKey = ""
    """Key of the taint. An empty key with ``Exists`` matches every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """``Exists`` matches by the key only, ``Equal`` also by the value."""
    value: LabelValue = ""
    """Value of the taint, with ``Equal``."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute", ""] = ""
    """Effect of the taint; empty for every effect."""

    @model_validator(mode="after")
    def _value_is_used(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise ValueError(f"operator Exists takes no value: remove {self.value!r}, or use Equal")
        if self.operator == "Equal" and not self.key:
            raise ValueError("operator Equal needs a key")
        return self


class SecretNames(Section):
    """Names of the secrets that steps read environment variables from. Values never pass through a pipeline."""

    storage: ObjectName = "vicur-s3"
    """Secret with ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``."""
    tracking: ObjectName = "vicur-mlflow"
    """Secret with ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD``."""
    cues: ObjectName = "vicur-cue"
    """Secret with ``VICUR_CUE_API_KEY``, the API key of the cue model."""
    webhook: ObjectName = "vicur-webhook"
    """Secret with ``VICUR_WEBHOOK_URL``, which receives the outcome of each run."""
    hub: ObjectName = "vicur-hf"
    """Secret with ``HF_TOKEN``, the token for gated and private models on the Hugging Face Hub."""


class ClusterConfig(Section):
    """Execution of the steps in a cluster. Local runs ignore it.

    Settings that are parameters of the package are the defaults of those parameters. The package fixes time limits, shared memory, queue,
    retries and names of secrets.
    """

    image: ImageName = ""
    """Container image of the steps; empty for the default of this release."""
    gpu_type: Annotated[str, Form("the resource name of a GPU, such as nvidia.com/gpu")] = Field(
        default="nvidia.com/gpu", pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$"
    )
    """Resource name of a GPU, as nodes advertise it."""
    gpu_count: int = Field(default=1, ge=0, le=16)
    """GPUs of a training on each node; 0 trains on the CPU."""
    nodes: int = Field(default=1, ge=1, le=64)
    """Nodes of a training. More than one run as a TrainJob."""
    jobs: JobsConfig = JobsConfig()
    """Settings of these TrainJobs."""
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels of the nodes of the GPU pool."""
    tolerations: tuple[Toleration, ...] = (Toleration(key="nvidia.com/gpu", operator="Exists"),)
    """Taints of the GPU pool that pods tolerate."""
    queue: QueueName = ""
    """Kueue LocalQueue of the steps with GPUs."""
    steps: StepResources = StepResources(cpu="2", memory="8Gi")
    """Resources of the steps without a GPU."""
    gpu_steps: StepResources = StepResources(cpu="8", memory="64Gi")
    """Resources of evaluation and training."""
    shared_memory: Memory = "16Gi"
    """Size of ``/dev/shm`` in the steps with GPUs. PyTorch passes tensors between processes through it."""
    step_timeout_hours: int = Field(default=12, ge=1, le=8760)
    """Time limit of a step other than training."""
    training_timeout_hours: int = Field(default=168, ge=1, le=8760)
    """Time limit of an attempt at training."""
    retries: int = Field(default=3, ge=0, le=20)
    """Number of retries of a failed step. A training resumes from its last checkpoint."""
    backoff: Duration = "60s"
    """Pause before the first retry; it doubles with each."""
    autoscaled: bool = False
    """Set this if the cluster adds nodes on demand, so that none needs to exist when a run starts."""
    namespace: ObjectName = "vicur"
    """Namespace of the pods, whose quota and queue ``vicur doctor`` checks. Preflight checks those of the namespace that it runs in."""
    look: bool = True
    """Let preflight check the environment of the run (servers, storage, nodes) in addition to its settings."""
    models_claim: ObjectName = "vicur-models"
    """PersistentVolumeClaim that models are staged to and read from, mounted at ``/models``; empty for none."""
    data_claims: tuple[ObjectName, ...] = ()
    """More PersistentVolumeClaims with models and datasets (``pvc://CLAIM/path``), mounted at ``/volumes/CLAIM``."""
    endpoints: ObjectName = "vicur-endpoints"
    """ConfigMap with ``MLFLOW_TRACKING_URI``, ``AWS_ENDPOINT_URL_S3``, ``AWS_DEFAULT_REGION``, and ``HF_ENDPOINT`` for a mirror of the
    Hub."""
    secrets: SecretNames = SecretNames()
    """Names of secrets."""
    prices: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Price of one GPU-hour in ``currency``, by the value of a label in ``node_selector`` (``NVIDIA-H100-80GB-HBM3``) or else by
    ``gpu_type``. Without a price, the cost of a run is reported as unknown."""
    currency: Annotated[str, Form("a currency code of three capital letters, such as USD")] = Field(
        default="USD", pattern=r"^[A-Z]{3}$"
    )
    """Currency of ``prices``."""

    @property
    def mounts(self) -> dict[str, Path]:
        """Where steps have the volumes with models and datasets, by claim."""
        mounts = {claim: Path("/volumes") / claim for claim in self.data_claims}
        return {**mounts, self.models_claim: MODELS} if self.models_claim else mounts

    def price(self) -> float | None:
        """Return the price of one GPU-hour in the pool, or ``None`` if ``prices`` has none."""
        for name in (*self.node_selector.values(), self.gpu_type):
            if name in self.prices:
                return self.prices[name]
        return None
