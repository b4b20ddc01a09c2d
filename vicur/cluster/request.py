"""The form of a run in a cluster: a few fields over a preset, resolved to a whole configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import AliasChoices, Field, field_validator

from vicur.config.cluster import ClusterConfig, Toleration
from vicur.config.dataset_reference import dataset_reference
from vicur.config.loading import put, turn
from vicur.config.methods import METHODS, method_named
from vicur.config.model_address import ClaimAddress, model_address, mounted
from vicur.config.run import RunConfig
from vicur.config.section import Section
from vicur.config.sources import Sources
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
    "cluster.portions",
    "cluster.step_timeout_hours",
    "cluster.training_timeout_hours",
    "cluster.retries",
    "cluster.backoff",
    "cluster.prices",
    "cluster.currency",
)
# Kubeflow Pipelines reads these from the fields of the form, not from the configuration.
_IN_THE_FORM = ("image", "gpu_type", "gpu_node_selector", "gpu_tolerations")
# A remedy that leaves a setting out.
_LEFT_OUT = re.compile(
    r"\b(?:[Rr]emove (?P<before>training\.[a-z_.]*[a-z_])|[Ll]eave (?P<after>training\.[a-z_.]*[a-z_]) out)"
)


# Settings that a field of the form replaces as they are.
_SETTINGS: Mapping[str, str] = {
    "data_splits": "evaluation.splits",
    "gpu_count": "cluster.gpu_count",
    "gpu_node_selector": "cluster.node_selector",
    "gpu_nodes": "cluster.nodes",
    "gpu_tolerations": "cluster.tolerations",
    "gpu_type": "cluster.gpu_type",
    "image": "cluster.image",
    "model_gate_margin": "registry.gate.margin",
    "model_registered": "registry.model",
    "model_student": "base.path",
    "seed": "seed",
    "train_methods": "methods",
}
FIELD_ALIASES: Mapping[str, tuple[str, ...]] = {
    "data_source": ("dataset",),
    "data_splits": ("splits", "benchmarks"),
    "gpu_node_selector": ("node_selector",),
    "gpu_nodes": ("nodes",),
    "gpu_tolerations": ("tolerations",),
    "model_gate_margin": ("gate_margin",),
    "model_registered": ("registered_model",),
    "model_student": ("student",),
    "model_teacher": ("teacher",),
    "train_methods": ("methods",),
}
"""Names that fields had in packages of earlier releases."""


def _also(name: str) -> AliasChoices:
    return AliasChoices(name, *FIELD_ALIASES[name])


class Request(Section):
    """Fields of the form. An empty or missing field leaves the preset's setting; an empty selector or list of tolerations means none."""

    # KFP shows the fields in alphabetical order and without these descriptions, so their names sort by subject and explain themselves.
    cue_endpoint: str = ""
    """Address of the cue model, for the provider `endpoint`. Its name goes to `overrides`: `{"cues.provider.model": "qwen"}`."""
    cue_provider: str = ""
    """Source of the visual cues: `annotation`, `pixels` or `endpoint`."""
    data_source: str = Field(default="", validation_alias=_also("data_source"))
    """The dataset: `<md5>.dir@s3://bucket/dvc` (a hash and DVC's remote), `s3://bucket/folder`, `pvc://CLAIM/folder`, `/mnt/folder` or
    `digit-scenes`. Empty: the preset's."""
    data_splits: tuple[str, ...] = Field(default=(), validation_alias=_also("data_splits"))
    """Held-out splits that base and students are evaluated on. The split `test` is required."""
    gpu_count: int | None = None
    """GPUs of a training on each node. A package that was compiled with 0 trains on the CPU."""
    gpu_node_selector: dict[str, str] | None = Field(default=None, validation_alias=_also("gpu_node_selector"))
    """Labels of the pool's nodes, such as `{"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}`."""
    gpu_nodes: int | None = Field(default=None, validation_alias=_also("gpu_nodes"))
    """Nodes of a training. More than one run as a TrainJob."""
    gpu_tolerations: tuple[Toleration, ...] | None = Field(default=None, validation_alias=_also("gpu_tolerations"))
    """Taints of the pool that pods tolerate, as in Kubernetes."""
    gpu_type: str = ""
    """Resource name of a GPU, as nodes advertise it."""
    image: str = ""
    """Container image of the steps."""
    model_gate_margin: float | None = Field(default=None, validation_alias=_also("model_gate_margin"))
    """Smallest gain in accuracy over the base that makes a student champion, as a share (0.02 is two points)."""
    model_registered: str = Field(default="", validation_alias=_also("model_registered"))
    """Name of the registered model in MLflow."""
    model_student: str = Field(default="", validation_alias=_also("model_student"))
    """Checkpoint that students start from: `hf://owner/name@COMMIT`, `s3://bucket/prefix`, `pvc://CLAIM/path`, a folder that steps can
    read, such as `/models/Qwen3-VL-8B-Instruct`, or `tiny`."""
    model_teacher: str = Field(default="", validation_alias=_also("model_teacher"))
    """Another checkpoint as the teacher, with the student's vocabulary, in the forms of `model_student`. Empty: the method's own."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Any other setting by its dotted name, such as `{"training.steps": 50}`; it takes precedence over the other fields."""
    seed: int | None = None
    """Root seed of all random draws."""
    train_methods: tuple[str, ...] = Field(default=(), validation_alias=_also("train_methods"))
    """Methods to train a student with, side by side: `opsd`, `opsd-cue`, `opsd-recovery`, `vicur`, `opd`, `opd-vicur`, `grpo`, `sft`. The
    best on validation is registered."""

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
            own = next((each for each in _IN_THE_FORM if _SETTINGS[each] == name), None)
            if own is not None:
                raise ValueError(f"{name!r} has its own field in the form: fill in {own}")
            if not fields and isinstance(value, dict) and _keeps_its_settings(section):
                field = next(iter(value), "field")
                raise ValueError(
                    f"{name!r} is a whole section, which would drop the preset's other settings: write {name}.{field}"
                )
        return overrides


def form_types() -> dict[str, type]:
    """Return the type of each field as Kubeflow Pipelines knows it."""
    return {name: _type(field.annotation) for name, field in Request.model_fields.items()}


def form_defaults(preset: RunConfig, image: str) -> dict[str, Any]:
    """Return the values with which the form of a package starts."""
    values = preset.model_dump(mode="json", exclude_none=True)
    provider = values["cues"]["provider"]
    return {
        **{name: _get(values, setting) for name, setting in _SETTINGS.items()},
        "cue_endpoint": provider.get("url", ""),
        "cue_provider": provider["type"],
        "data_source": "",
        # Without empty values, which are hard to read in one line of JSON.
        "gpu_tolerations": [taint.model_dump(exclude_defaults=True) for taint in preset.cluster.tolerations],
        "image": image,
        "model_teacher": "",
        "overrides": {},
    }


def resolved(preset: Mapping[str, Any], request: Request) -> RunConfig:
    """Return the configuration of a run: the preset of its package, with the settings of the form.

    Raises:
        VicurError: if a setting is wrong. The message names the field that sets it.
    """
    compiled: RunConfig = validated(RunConfig, dict(preset), "the package")
    # Fields and overrides change single settings of a section, so all sections must be spelled out.
    values = compiled.model_dump(mode="json", exclude_none=True)
    given = _settings(request)
    for name, value in given.items():
        put(values, _SETTINGS[name], value, name)
    _put_teacher(values, request.model_teacher)
    if request.data_source:
        values["data"] = dataset_reference(
            request.data_source, compiled.data, mounts=compiled.cluster.mounts
        ).model_dump(mode="json")
    _put_provider(values, request)
    for name in sorted(request.overrides, key=turn):
        put(values, name, request.overrides[name], f"overrides, {name}")
    fields = {_SETTINGS[name]: name for name in given if _SETTINGS[name] not in request.overrides}
    try:
        config: RunConfig = validated(RunConfig, values, Sources("the run's parameters", options=fields))
    except VicurError as error:
        raise _in_words_of_the_form(error) from error
    _require_pool_as_compiled(compiled.cluster, config)
    _require_volumes(config)
    return config


def _in_words_of_the_form(error: VicurError) -> VicurError:
    """Say how a form leaves a setting out: it has no lines to delete."""
    left_out = _LEFT_OUT.search(error.remedy or "")
    if left_out is None:
        return error
    name = left_out["before"] or left_out["after"]
    remedy = f'{error.remedy} In the form, add {{"{name}": null}} to overrides.'
    return VicurError(error.problem, where=error.where, remedy=remedy, exit_code=error.exit_code)


def _type(annotation: Any) -> type:
    # An optional type is a union; Kubeflow Pipelines has lists where settings have tuples.
    kinds = [each for each in get_args(annotation) if each is not type(None)]
    kind = kinds[0] if type(None) in get_args(annotation) else annotation
    origin = get_origin(kind) or kind
    return list if origin is tuple else origin


def _get(values: Mapping[str, Any], name: str) -> Any:
    for part in name.split("."):
        values = values[part]
    return values


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
            where="gpu_nodes",
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
    """Return the values of the fields that were filled in."""
    values = request.model_dump(mode="json", include=set(_SETTINGS))
    left_empty = {name for name in ("train_methods", "data_splits") if not values[name]}
    return {name: values[name] for name in _SETTINGS if name not in left_empty and values[name] not in (None, "")}


def _put_teacher(values: dict[str, Any], teacher: str) -> None:
    for name in values["methods"] if teacher else ():
        if name in METHODS and method_named(name).teacher.type != "none":
            put(
                values,
                f"training.per_method.{name}.teacher",
                {"type": "checkpoint", "path": teacher},
                "model_teacher",
            )


def _put_provider(values: dict[str, Any], request: Request) -> None:
    provider = values["cues"]["provider"]
    # Settings of another type of provider do not apply.
    if request.cue_provider and request.cue_provider != provider["type"]:
        provider = {"type": request.cue_provider}
    if request.cue_endpoint:
        provider = {**provider, "url": request.cue_endpoint}
    put(values, "cues.provider", provider, "cue_provider")
