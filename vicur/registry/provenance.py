"""Origin of a version in one JSON file, ``provenance.json`` next to its model: from the checkpoint back to the source of the data.

Versions of releases before 0.2 have the most important fields as tags instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError

from vicur.config.prompts import PixelBudget
from vicur.data.dataset import read_manifest
from vicur.errors import VicurError
from vicur.redaction import redacted, redacted_value
from vicur.registry.answering import answering_hash
from vicur.registry.candidate import Candidate
from vicur.registry.figures import read_audit
from vicur.registry.lineage import Lineage
from vicur.registry.model_files import read_model_file, write_if_missing
from vicur.registry.run_settings import run_settings
from vicur.registry.tags import PREFIX
from vicur.registry.versions import Version
from vicur.stage.environment import Environment

if TYPE_CHECKING:
    from mlflow import MlflowClient

PROVENANCE = "provenance.json"
_EARLIER_PIXELS = "vicur.pixels"


class DataOrigin(BaseModel, frozen=True):
    """The dataset: its hash, the settings that it was made with, and its size."""

    dvc: str = ""
    source: dict[str, Any] = {}
    """Settings of the source, with an address and revision where it has them."""
    seed: int | None = None
    examples: dict[str, int] = {}
    skipped: int = 0


class CueOrigin(BaseModel, frozen=True):
    """The cues: their hash, their provider and what the audit found."""

    sha256: str = ""
    provider: str = ""
    fingerprint: str = ""
    """Fingerprint of the provider's settings."""
    grounded_share: float | None = None
    answer_leak_share: float | None = None
    treated: dict[str, int] = Field(default={}, exclude_if=lambda counts: not counts)
    """Cues that a policy redacted or dropped, by label and action."""


class Provenance(BaseModel, frozen=True):
    """Content of ``provenance.json``."""

    lineage: Lineage
    answering: str = ""
    """Hash of the prompts and the decoding of the evaluation."""
    pixels: PixelBudget = PixelBudget()
    """Pixel budget of the evaluation's images."""
    prompts: dict[str, Any] = {}
    decoding: dict[str, Any] = {}
    data: DataOrigin = DataOrigin()
    cues: CueOrigin = CueOrigin()
    training: dict[str, Any] = {}
    """All settings that the student was trained with."""
    run: dict[str, Any] = {}
    """The settings of the run, by section. Those that are not known are missing."""
    environment: Environment = Environment()
    """Software and machine of the training."""
    steps: int | None = None
    best_step: int | None = None
    registration_run: str = ""
    """MLflow run that registered the version."""
    copied_from: str = ""
    """Address of the version on another server that this is a copy of; empty if it was registered here."""

    @classmethod
    def of(cls, candidate: Candidate, registration_run: str, run: str) -> Provenance:
        """Collect the origin of a candidate. ``run`` are settings of its run as YAML; empty if they are not known."""
        metrics, manifest, audit = (
            candidate.evaluation.metrics,
            read_manifest(candidate.dataset),
            read_audit(candidate.cues),
        )
        taught = audit.distill
        return cls(
            lineage=candidate.lineage,
            answering=answering_hash(metrics),
            pixels=metrics.prompts.pixels.of("evaluation"),
            prompts=metrics.prompts.model_dump(mode="json"),
            decoding=metrics.decoding,
            data=DataOrigin(
                dvc=candidate.lineage.dataset,
                source=masked(manifest.source),
                seed=manifest.seed,
                examples=manifest.examples,
                skipped=manifest.skipped,
            ),
            cues=CueOrigin(
                sha256=candidate.lineage.cues,
                provider=audit.provider,
                fingerprint=audit.fingerprint,
                grounded_share=taught.grounded_share,
                answer_leak_share=taught.answer_leak_share,
                treated=taught.treated,
            ),
            training=masked(candidate.record.training),
            run=masked(run_settings(run, candidate, manifest, audit)),
            environment=candidate.record.environment,
            steps=candidate.record.steps,
            best_step=candidate.record.best_step,
            registration_run=registration_run,
        )

    def as_text(self) -> str:
        """Return the content of the file."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def from_tags(cls, version: Version) -> Provenance:
        """Read a version of a release before 0.2.

        Raises:
            VicurError: if a tag is damaged.
        """
        tags = {key.removeprefix(PREFIX): value for key, value in version.tags.items() if key.startswith(PREFIX)}
        try:
            lineage = Lineage.model_validate({name: tags[name] for name in Lineage.model_fields if name in tags})
            pixels = PixelBudget.model_validate_json(version.tags.get(_EARLIER_PIXELS, "{}"))
        except ValidationError as error:
            fault = error.errors()[0]
            raise VicurError(
                f"one of its tags is damaged ({fault['loc']}: {fault['msg']}).",
                where=str(version),
                remedy="Register the student again.",
            ) from error
        return cls(
            lineage=lineage,
            answering=tags.get("answering", ""),
            pixels=pixels,
            data=DataOrigin(dvc=lineage.dataset, source={"type": lineage.dataset_source}),
            cues=CueOrigin(sha256=lineage.cues, provider=lineage.cue_provider),
            registration_run=tags.get("registration_run", ""),
        )


def add_provenance(client: MlflowClient, model_id: str, provenance: Provenance) -> None:
    """Store the origin of a logged model that has none, because an earlier release uploaded it."""
    write_if_missing(client, model_id, PROVENANCE, provenance.as_text())


def provenance_of(client: MlflowClient, version: Version) -> Provenance:
    """Read the origin of a version.

    Raises:
        VicurError: if its file or its tags are damaged.
    """
    text = read_model_file(client, version, PROVENANCE)
    if text is None:
        return Provenance.from_tags(version)
    try:
        return Provenance.model_validate_json(text)
    except ValidationError as error:
        raise VicurError(
            f"is damaged ({str(error).splitlines()[0]}).",
            where=f"{version}, {PROVENANCE}",
            remedy="Register the student again.",
        ) from error


def masked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without secrets: addresses may contain credentials."""
    return {key: _masked(key, value) for key, value in settings.items()}


def _masked(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return masked(value)
    if isinstance(value, list | tuple):
        return [_masked(key, each) for each in value]
    if isinstance(value, str):
        return redacted_value(key, redacted(value))
    return value
