"""The form of a run in a cluster: a few fields over a preset, resolved to a whole configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, Field, field_validator

from vicur.config.cluster import ClusterConfig, Toleration
from vicur.config.dataset_reference import dataset_reference
from vicur.config.loading import put, turn
from vicur.config.methods import METHODS, method_named
from vicur.config.model_address import ClaimAddress, model_address, mounted
from vicur.config.run import RunConfig
from vicur.config.section import Section
from vicur.config.validation import validated
from vicur.errors import VicurError

# Pods have these from the package, and the exit step must know where to report even if preflight fails.
_FIXED = (
    "name",
    "tracking",
    "cluster.namespace",
    "cluster.steps",
    "cluster.gpu_steps",
    "cluster.cpu_steps",
    "cluster.shared_memory",
    "cluster.queue",
    "cluster.jobs.priority",
    "cluster.models_claim",
    "cluster.data_claims",
    "cluster.endpoints",
    "cluster.secrets",
    "cluster.step_timeout_hours",
    "cluster.training_timeout_hours",
    "cluster.retries",
    "cluster.backoff",
    "cluster.prices",
    "cluster.currency",
)
# Kubeflow Pipelines reads these from the fields of the form, not from the configuration.
_IN_THE_FORM = ("cluster.image", "cluster.gpu_type", "cluster.node_selector", "cluster.tolerations")


class Request(Section):
    """Fields of the form. An empty or missing field leaves the preset's setting; an empty selector or list of tolerations means none."""

    student: str = ""
    """Checkpoint that students start from: hf://owner/name@COMMIT, s3://bucket/prefix, pvc://CLAIM/path, a folder that steps can read,
    such as /models/Qwen3-VL-8B-Instruct, or ``tiny``."""
    teacher: str = ""
    """Another checkpoint as the teacher, in the forms of ``student``; empty for the method's own."""
    methods: tuple[str, ...] = ()
    """Methods to train a student with, side by side."""
    dataset: str = ""
    """The dataset, as :func:`~vicur.config.dataset_reference.dataset_reference` reads it."""
    cue_provider: str = ""
    """Source of the visual cues."""
    cue_endpoint: str = ""
    """Address of the cue model, for the provider ``endpoint``."""
    splits: tuple[str, ...] = Field(default=(), validation_alias=AliasChoices("splits", "benchmarks"))
    """Held-out splits that base and students are evaluated on."""
    gpu_type: str = ""
    """Resource name of a GPU."""
    gpu_count: int | None = None
    """GPUs of a training on each node."""
    nodes: int | None = None
    """Nodes of a training."""
    node_selector: dict[str, str] | None = None
    """Labels of the pool's nodes."""
    tolerations: tuple[Toleration, ...] | None = None
    """Taints of the pool that pods tolerate."""
    image: str = ""
    """Container image of the steps."""
    registered_model: str = ""
    """Name of the registered model."""
    gate_margin: float | None = None
    """Smallest gain over the base that passes the gate."""
    seed: int | None = None
    """Root seed."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Any other setting by its dotted name, ``{"training.steps": 50}``; it takes precedence over the other fields."""

    @field_validator("gpu_type", "image")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        # An empty resource name would give pods no GPU, and they would train on the CPU.
        if not value:
            raise ValueError("is empty, but pods take it from the form, not from the preset")
        return value

    @field_validator("overrides")
    @classmethod
    def _are_settings(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        for name, value in overrides.items():
            section, *fields = name.split(".")
            if not section or not all(fields):
                raise ValueError(f"{name!r} is not a setting: write section.field, such as training.steps")
            if any(_overlap(name, fixed) for fixed in _FIXED):
                raise ValueError(f"{name!r} is fixed in the package: compile a package with another value")
            if name in _IN_THE_FORM:
                raise ValueError(f"{name!r} has its own field in the form: fill in {name.partition('.')[2]}")
            if not fields and isinstance(value, dict) and _keeps_its_settings(section):
                field = next(iter(value), "field")
                raise ValueError(
                    f"{name!r} is a whole section, which would drop the preset's other settings: write {name}.{field}"
                )
        return overrides


def resolved(preset: Mapping[str, Any], request: Request) -> RunConfig:
    """Return the configuration of a run: the preset of its package, with the settings of the form.

    Raises:
        VicurError: if a setting is wrong.
    """
    compiled: RunConfig = validated(RunConfig, dict(preset), "the package")
    # Fields and overrides change single settings of a section, so all sections must be spelled out.
    values = compiled.model_dump(mode="json", exclude_none=True)
    for name, value in _settings(request).items():
        put(values, name, value, name)
    _put_teacher(values, request.teacher)
    if request.dataset:
        values["data"] = dataset_reference(request.dataset, mounts=compiled.cluster.mounts).model_dump(mode="json")
    _put_provider(values, request)
    for name in sorted(request.overrides, key=turn):
        put(values, name, request.overrides[name], f"overrides, {name}")
    config: RunConfig = validated(RunConfig, values, "the run's parameters")
    _require_pool_as_compiled(compiled.cluster, config)
    _require_volumes(config)
    return config


def _overlap(name: str, other: str) -> bool:
    return f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.")


def _keeps_its_settings(section: str) -> bool:
    # Overriding a whole section would lose the preset's other settings. "data" is meant to be replaced.
    return section != "data" and isinstance(getattr(RunConfig(), section, None), Section)


def _require_pool_as_compiled(compiled: ClusterConfig, config: RunConfig) -> None:
    # The package fixes whether steps get GPUs, and the time limit and the queue of the training step.
    requested = config.cluster.gpu_count
    if compiled.launches_job and not config.cluster.launches_job:
        compiled_for = str(compiled.nodes) if compiled.nodes > 1 else "a TrainJob (cluster.jobs.always)"
        raise VicurError(
            f"1 node is requested, but the package was compiled for {compiled_for}: its training step has no time limit and "
            "bypasses the queue.",
            where="nodes",
            remedy="Set cluster.jobs.always=true under overrides, or compile it with cluster.nodes=1; that package takes several nodes, "
            "too.",
        )
    if bool(requested) != bool(compiled.gpu_count):
        steps = "with" if compiled.gpu_count else "without"
        raise VicurError(
            f"{requested} GPUs per node are requested, but the package was compiled {steps} GPUs.",
            where="gpu_count",
            remedy=f"Compile it with cluster.gpu_count={requested}.",
        )


def _require_volumes(config: RunConfig) -> None:
    # Pods mount the claims that the package was compiled with.
    models = [config.base.model_paths(), *(cell.training.model_paths() for cell in config.cells())]
    for path in (path for paths in models for path in paths.values()):
        address = model_address(path)
        if isinstance(address, ClaimAddress):
            mounted(address, config.cluster.mounts)


def _settings(request: Request) -> dict[str, Any]:
    taints = None if request.tolerations is None else [taint.model_dump() for taint in request.tolerations]
    named = {
        "base.path": request.student,
        "methods": list(request.methods) or None,
        "evaluation.splits": list(request.splits) or None,
        "cluster.gpu_type": request.gpu_type,
        "cluster.gpu_count": request.gpu_count,
        "cluster.nodes": request.nodes,
        "cluster.node_selector": request.node_selector,
        "cluster.tolerations": taints,
        "cluster.image": request.image,
        "registry.model": request.registered_model,
        "registry.gate.margin": request.gate_margin,
        "seed": request.seed,
    }
    return {name: value for name, value in named.items() if value is not None and value != ""}


def _put_teacher(values: dict[str, Any], teacher: str) -> None:
    for name in values["methods"] if teacher else ():
        if name in METHODS and method_named(name).teacher.type != "none":
            put(values, f"training.per_method.{name}.teacher", {"type": "checkpoint", "path": teacher}, "teacher")


def _put_provider(values: dict[str, Any], request: Request) -> None:
    provider = values["cues"]["provider"]
    # Settings of another type of provider do not apply.
    if request.cue_provider and request.cue_provider != provider["type"]:
        provider = {"type": request.cue_provider}
    if request.cue_endpoint:
        provider = {**provider, "url": request.cue_endpoint}
    put(values, "cues.provider", provider, "cue_provider")
