"""What a person asks for in the form of a run: a few fields over a preset, turned into the whole configuration."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from vicur.config.cluster import ClusterConfig, Toleration
from vicur.config.dataset_reference import dataset_reference
from vicur.config.loading import put, turn
from vicur.config.methods import METHODS, method_named
from vicur.config.run import STEP_SECTIONS, RunConfig
from vicur.config.section import Section
from vicur.config.validation import validated
from vicur.errors import VicurError

_FIXED = (
    "name",
    "tracking",
    "cluster.namespace",
    "cluster.steps",
    "cluster.gpu_steps",
    "cluster.shared_memory",
    "cluster.queue",
    "cluster.jobs.priority",
    "cluster.models_claim",
    "cluster.endpoints",
    "cluster.secrets",
    "cluster.step_timeout_hours",
    "cluster.training_timeout_hours",
    "cluster.retries",
    "cluster.backoff",
    "cluster.prices",
    "cluster.currency",
)
"""What a package holds for good: its pods have it, and whatever becomes of a run, its exit step must find where to tell it."""
_IN_THE_FORM = ("cluster.image", "cluster.gpu_type", "cluster.node_selector", "cluster.tolerations")
"""What Kubeflow Pipelines reads from the form's own fields."""


class Request(Section):
    """The fields of the form. What is empty or left out is as the preset says; an empty selector or list of taints means none, and
    ``gpu_type`` and ``image`` may not be empty.
    """

    student: str = ""
    """The checkpoint that students start from: a folder that steps can read, as /models/Qwen3-VL-8B-Instruct, or ``tiny``."""
    teacher: str = ""
    """Another checkpoint as the teacher; empty: the method's own."""
    methods: tuple[str, ...] = ()
    """Methods to train a student with, side by side."""
    dataset: str = ""
    """The dataset, as :func:`~vicur.config.dataset_reference.dataset_reference` reads it."""
    cue_provider: str = ""
    """What makes the cues."""
    cue_endpoint: str = ""
    """Address of the cue model, for a provider that asks one."""
    benchmarks: tuple[str, ...] = ()
    """Held-out splits that base and students are evaluated on."""
    gpu_type: str = ""
    """The resource that a GPU is."""
    gpu_count: int | None = None
    """GPUs of a training on each node."""
    nodes: int | None = None
    """Nodes of a training."""
    node_selector: dict[str, str] | None = None
    """Labels of the pool's nodes."""
    tolerations: tuple[Toleration, ...] | None = None
    """Taints of the pool."""
    image: str = ""
    """Container image of the steps."""
    registered_model: str = ""
    """Name of the registered model."""
    gate_margin: float | None = None
    """Least gain on the base that the gate lets through."""
    seed: int | None = None
    """Root of everything random."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Any other setting by its dotted name, ``{"training.steps": 50}``; it wins over the fields above."""

    @field_validator("gpu_type", "image")
    @classmethod
    def _pods_can_read_it(cls, value: str) -> str:
        # Without a name for its GPUs, a pod would get none, and train on the processor.
        if not value:
            raise ValueError("is empty, and pods have it from the form, not from the preset")
        return value

    @field_validator("overrides")
    @classmethod
    def _names_are_names(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        for name, value in overrides.items():
            section, *fields = name.split(".")
            if not section or not all(fields):
                raise ValueError(f"{name!r} is no setting: write section.field, as in training.steps")
            if any(_overlap(name, fixed) for fixed in _FIXED):
                raise ValueError(f"{name!r} is fixed when the package is compiled: compile one with another setting")
            if name in _IN_THE_FORM:
                raise ValueError(f"{name!r} has a field of its own: fill in {name.partition('.')[2]}")
            if section in STEP_SECTIONS and section != "data" and not fields and isinstance(value, dict):
                field = next(iter(value), "field")
                raise ValueError(f"{name!r} is a section, which would lose what the preset sets: write {name}.{field}")
        return overrides


def _overlap(name: str, other: str) -> bool:
    """Whether one setting is the other, or within it."""
    return f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.")


def resolved(preset: Mapping[str, Any], request: Request) -> RunConfig:
    """The configuration that a request over a preset comes to.

    Args:
        preset: a run's configuration, as JSON: what the package was compiled with.
        request: the fields of the form.

    Raises:
        VicurError: naming each setting that is wrong, before anything is started.
    """
    values = copy.deepcopy(dict(preset))
    for name, value in _settings(request).items():
        put(values, name, value, name)
    _put_teacher(values, request.teacher)
    _put_dataset(values, request.dataset)
    _put_provider(values, request)
    for name in sorted(request.overrides, key=turn):
        put(values, name, request.overrides[name], f"overrides, {name}")
    config: RunConfig = validated(RunConfig, values, "the run's parameters")
    _require_pool_as_compiled(validated(RunConfig, dict(preset), "the package").cluster, config)
    return config


def _require_pool_as_compiled(compiled: ClusterConfig, config: RunConfig) -> None:
    """Whether steps ask for GPUs at all is in the package; how many, the form says. What limits a training is in it too: the training
    step's own time and queue where it trains itself, none where it waits for a job that has its own.

    Raises:
        VicurError: where the run would train without the GPUs that it asks for, evaluate on one that it does not, or train past the queue
            and without an end.
    """
    wanted = config.cluster.gpu_count
    if config.cluster.nodes == 1 < compiled.nodes:
        raise VicurError(
            "one node is asked for, and the package is for several: its training step has no time limit and passes the queue by.",
            where="nodes",
            remedy="Compile it with cluster.nodes=1; such a package takes several nodes too.",
        )
    if bool(wanted) != bool(compiled.gpu_count):
        has = "steps that ask for GPUs" if compiled.gpu_count else "no step that asks for GPUs"
        raise VicurError(
            f"{wanted} GPUs are asked for, and the package has {has}.",
            where="gpu_count",
            remedy=f"Compile it with cluster.gpu_count={wanted}.",
        )


def _settings(request: Request) -> dict[str, Any]:
    """What the fields set, by the name of the setting."""
    named = {
        "base.path": request.student,
        "methods": list(request.methods) or None,
        "evaluation.splits": list(request.benchmarks) or None,
        "cluster.gpu_type": request.gpu_type,
        "cluster.gpu_count": request.gpu_count,
        "cluster.nodes": request.nodes,
        "cluster.node_selector": request.node_selector,
        "cluster.tolerations": None
        if request.tolerations is None
        else [taint.model_dump() for taint in request.tolerations],
        "cluster.image": request.image,
        "registry.model": request.registered_model,
        "registry.gate.margin": request.gate_margin,
        "seed": request.seed,
    }
    return {name: value for name, value in named.items() if value is not None and value != ""}


def _put_teacher(values: dict[str, Any], teacher: str) -> None:
    """To the methods that have a teacher: one that learns from rewards has no use for it."""
    for name in values.get("methods", ()) if teacher else ():
        if name in METHODS and method_named(name).teacher.type != "none":
            put(values, f"training.per_method.{name}.teacher", {"type": "checkpoint", "path": teacher}, "teacher")


def _put_dataset(values: dict[str, Any], dataset: str) -> None:
    if dataset:
        values["data"] = dataset_reference(dataset).model_dump(mode="json")


def _put_provider(values: dict[str, Any], request: Request) -> None:
    """A provider of another type has none of the preset's settings for it."""
    provider = values.get("cues", {}).get("provider", {})
    if request.cue_provider and request.cue_provider != provider.get("type"):
        provider = {"type": request.cue_provider}
    if request.cue_endpoint:
        provider = {**provider, "url": request.cue_endpoint}
    if provider:
        put(values, "cues.provider", provider, "cue_provider")
