"""Settings of the registered model and of the gate that decides on its champion."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from vicur.config.address import http_address
from vicur.config.allowed import Form
from vicur.config.section import Section

TOKEN_PATH = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105 (its name)
"""Environment variable with the path of a file with a token, as the registry's Python client reads it."""


class FigureLimit(Section):
    """Range that a figure of the evaluation must lie in."""

    min: float | None = Field(default=None, allow_inf_nan=False)
    """Smallest value that passes."""
    max: float | None = Field(default=None, allow_inf_nan=False)
    """Largest value that passes."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("needs a min or a max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min:g}) is larger than max ({self.max:g})")
        return self


class GateConfig(Section):
    """Requirements on a candidate, measured on the test split. Accuracies are shares: 0.02 is two percentage points."""

    margin: float = Field(default=0.02, ge=0, lt=1)
    """Minimum gain over the base model. The confidence interval of the difference must also lie above zero."""
    champion_tolerance: float = Field(default=0.05, ge=0, lt=1)
    """Largest loss against the current champion that the test may leave possible: the confidence interval of the difference must not
    extend below it. A candidate whose whole interval lies below zero fails as well."""
    max_leak_share: float = Field(default=0.01, ge=0, le=1)
    """Maximum share of responses that mention a hint."""
    limits: dict[str, FigureLimit] = Field(default_factory=dict, exclude_if=lambda limits: not limits)
    """Further limits by name of a figure (``test/kind/count/accuracy``, ``cues/answer_leak_share``, ``parameters``; docs/registry.md lists
    them). ``*`` matches several figures, each of which must be within the limit. A figure that was not measured fails."""


class KubeflowRegistryConfig(Section):
    """A Kubeflow Model Registry, which Kubeflow's own UI shows, as a second list of the registered versions."""

    url: str | None = None
    """Address of its REST API, such as ``http://model-registry-service.kubeflow.svc.cluster.local:8080``. By default, versions are listed
    in MLflow alone. The token is that of the pod's service account, or the file that ``KF_PIPELINES_SA_TOKEN_PATH`` names."""
    owner: str = Field(default="vicur", min_length=1, max_length=200)
    """Shown as the owner of the model and the author of its versions."""

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        return http_address(url, "http://model-registry-service.kubeflow.svc.cluster.local:8080", TOKEN_PATH).rstrip(
            "/"
        )


class RegistryConfig(Section):
    """Settings of the stage that registers a student."""

    # MLflow addresses versions as models:/NAME/VERSION and models:/NAME@ALIAS.
    model: Annotated[str, Form("a name of letters, digits, spaces, dashes, dots and underscores, at most 200")] = Field(
        default="vicur-student", pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$", max_length=200
    )
    """Name of the registered model. Students under one name compete to be its champion."""
    gate: GateConfig = GateConfig()
    """Requirements for a candidate to become champion."""
    reevaluate_champion: bool = True
    """Evaluate a champion that has no results on these questions. Turn it off if the champion is too large for this step, which
    has no GPU: the gate then fails with the reason."""
    batch_size: int = Field(default=128, ge=1)
    """Batch size of the champion's evaluation."""
    threads: int = Field(default=1, ge=0)
    """CPU threads of the champion's evaluation; 0 uses PyTorch's default."""
    weights: Literal["upload", "reference"] = Field(default="upload", exclude_if=lambda weights: weights == "upload")
    """``upload`` copies a student's weights to MLflow's artifact store. ``reference`` leaves them where the pipeline stored the student if
    that is on S3, and records their address and checksums. The version is then lost if these files are removed, and readers need
    access to that store (docs/registry.md)."""
    kubeflow: KubeflowRegistryConfig = KubeflowRegistryConfig()
    """Also list the versions in a Kubeflow Model Registry."""

    # Set from the sections base, cues, data and evaluation. What a stage wrote takes precedence.
    run: str = Field(default="", exclude_if=lambda run: not run)
    """Settings of the run that differ from their defaults, as YAML, for the record of a version."""
