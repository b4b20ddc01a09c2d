"""Configuration of how a cluster runs the steps of a pipeline, and of the price of its GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vicur.config.allowed import Form
from vicur.config.jobs import JobsConfig
from vicur.config.kubernetes import (
    VOLUMES_OF_THE_PLATFORM,
    Cores,
    Duration,
    ImageName,
    LabelKey,
    LabelValue,
    Memory,
    ObjectName,
    QueueName,
    TaintKey,
    VolumeName,
    cores,
)
from vicur.config.portions import PortionsConfig
from vicur.config.section import Section

MODELS = Path("/models")
"""Mount point of the volume with models."""
DEFAULT_RETRIES = 3


class StepResources(Section):
    """Resources of a step. Unset fields follow from the base model (:mod:`vicur.config.sizes`)."""

    cpu: Cores | None = None
    """Requested CPU cores."""
    cpu_limit: Cores | None = None
    """Most CPU cores that it may use; ``cpu`` by default."""
    memory: Memory | None = None
    """Requested memory, including the shared memory of its processes. It is also the limit, so that a step cannot starve other pods."""

    @model_validator(mode="after")
    def _limit_covers_request(self) -> Self:
        if self.cpu and self.cpu_limit and cores(self.cpu_limit) < cores(self.cpu):
            raise ValueError(f"cpu_limit {self.cpu_limit} is below cpu {self.cpu}")
        return self

    def over(self, defaults: StepResources) -> StepResources:
        """Return these resources with unset fields taken from ``defaults``."""
        # An explicit cpu must not get the limit of the default one.
        limit = self.cpu_limit or self.cpu or defaults.cpu_limit or defaults.cpu
        return StepResources(cpu=self.cpu or defaults.cpu, cpu_limit=limit, memory=self.memory or defaults.memory)


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

    storage: VolumeName = "vicur-s3"
    """Secret with ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``."""
    tracking: VolumeName = "vicur-mlflow"
    """Secret with ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD``."""
    cues: VolumeName = "vicur-cue"
    """Secret with ``VICUR_CUE_API_KEY``, the API key of the cue model."""
    webhook: VolumeName = "vicur-webhook"
    """Secret with ``VICUR_WEBHOOK_URL``, which receives the outcome of each run."""
    judge: VolumeName = "vicur-judge"
    """Secret with ``VICUR_JUDGE_API_KEY``, the API key of the benchmarks' judge."""
    servers: VolumeName = "vicur-servers"
    """Secret with ``VLLM_API_KEY``, the key that the servers of a job (``training.rollout.placement: job``) require of its nodes."""
    hub: VolumeName = "vicur-hf"
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
    """Nodes of a training. More than one run as a TrainJob; one does with ``jobs.always``."""
    jobs: JobsConfig = JobsConfig()
    """Settings of TrainJobs."""
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels of the nodes of the GPU pool."""
    tolerations: tuple[Toleration, ...] = (Toleration(key="nvidia.com/gpu", operator="Exists"),)
    """Taints of the GPU pool that pods tolerate."""
    queue: QueueName = ""
    """Kueue LocalQueue of the steps with GPUs."""
    steps: StepResources = StepResources()
    """Resources of the steps other than evaluation and training."""
    gpu_steps: StepResources = StepResources()
    """Resources of evaluation and training with GPUs."""
    cpu_steps: StepResources = StepResources()
    """Resources of evaluation and training without GPUs (``gpu_count`` 0)."""
    servers: StepResources = StepResources()
    """Resources of each server of a job (``training.rollout.placement: job``), besides its GPUs. Weights pass through its memory."""
    serving_image: ImageName = ""
    """Container image of these servers, which must contain vLLM (docs/serving.md); empty for the image of the training."""
    benchmarks_image: ImageName = ""
    """Container image of the steps that score benchmarks with a judge, which must contain their harness (docs/images.md). The package fixes
    it."""
    shared_memory: Memory = "16Gi"
    """Size of ``/dev/shm`` in the steps with GPUs. PyTorch passes tensors between processes through it."""
    portions: PortionsConfig = PortionsConfig()
    """Pods that share the work of preparing the dataset and of making cues."""
    step_timeout_hours: int = Field(default=12, ge=1, le=8760)
    """Time limit of a step other than training."""
    training_timeout_hours: int = Field(default=168, ge=1, le=8760)
    """Time limit of an attempt at training."""
    retries: int = Field(default=DEFAULT_RETRIES, ge=0, le=20)
    """Number of retries of a step: by the step itself after a temporary failure, and by Kubeflow Pipelines if its pod is lost. A training
    resumes from its last checkpoint."""
    backoff: Duration = "60s"
    """Pause of Kubeflow Pipelines before its first retry; it doubles with each. The step itself waits 10 to 20 s before its first."""
    autoscaled: bool = False
    """Set this if the cluster adds nodes on demand, so that none needs to exist when a run starts."""
    namespace: ObjectName = "vicur"
    """Namespace of the pods, whose quota and queue ``vicur doctor`` checks. Preflight checks those of the namespace that it runs in."""
    look: bool = True
    """Let preflight check the environment of the run (servers, storage, nodes) in addition to its settings."""
    models_claim: VolumeName = "vicur-models"
    """PersistentVolumeClaim that models are staged to and read from, mounted at ``/models``; empty for none."""
    data_claims: tuple[VolumeName, ...] = ()
    """More PersistentVolumeClaims with models and datasets (``pvc://CLAIM/path``), mounted at ``/volumes/CLAIM``."""
    endpoints: VolumeName = "vicur-endpoints"
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

    @model_validator(mode="after")
    def _volumes_have_different_names(self) -> Self:
        # Kubeflow Pipelines calls a volume as what it mounts, and merges volumes of one name into an invalid one.
        taken = dict.fromkeys(VOLUMES_OF_THE_PLATFORM, "a volume of the platform")
        kinds = {
            "a secret": {*self.secrets.model_dump().values()},
            "the ConfigMap of endpoints": {self.endpoints},
            "a claim": {self.models_claim, *self.data_claims},
        }
        for kind, names in kinds.items():
            for name in sorted(names - {""}):
                if taken.setdefault(name, kind) != kind:
                    raise ValueError(f"{name!r} is the name of {kind} and of {taken[name]}: rename one of them")
        return self

    @property
    def launches_job(self) -> bool:
        """Whether a training runs as a TrainJob, which its step only follows, instead of in the step's own pod."""
        return self.nodes > 1 or self.jobs.always

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
