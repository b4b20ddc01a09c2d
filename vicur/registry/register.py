"""The registration stage: register a student as a model version and let the gate decide whether it becomes ``champion``.

Registration is idempotent: for a student that is already registered with the prompts and the decoding of its evaluation, the existing
version is used and the gate is applied again to the current measurements.
Results of this stage are never reused, because they depend on the registry.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from vicur.config.evaluation import REPORT_SPLIT
from vicur.config.registry import RegistryConfig
from vicur.data.dataset import read_manifest
from vicur.data.stored import StoredSplit
from vicur.errors import VicurError
from vicur.redaction import redacted_value
from vicur.registry.answering import answering_hash
from vicur.registry.candidate import Candidate, read_candidate
from vicur.registry.champion import store_evaluation
from vicur.registry.decision import apply_gate
from vicur.registry.gate import GateOutcome
from vicur.registry.kubeflow import list_in_kubeflow
from vicur.registry.package import pack
from vicur.registry.pages import verdict_page, version_page
from vicur.registry.provenance import Provenance, add_provenance
from vicur.registry.publish import publish
from vicur.registry.restoring import upload_missing_weights
from vicur.registry.source import link_to_training, training_run
from vicur.registry.tags import benchmarks_text, version_tags
from vicur.registry.uploads import create_version
from vicur.registry.versions import CANDIDATE, CHAMPION, Version, find_version, get_version
from vicur.registry.weights import address_on_s3, reference_to
from vicur.stage.runner import Context, Stage, Summary
from vicur.tracking.mlflow import as_default, mlflow_errors
from vicur.tracking.records import flattened

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

REGISTRATION = "registration.json"


class GateRecord(BaseModel):
    """Decision of the gate, with a sentence for each rule. Rules that did not pass come first."""

    passed: bool
    reasons: list[str]


class RegistrationSummary(Summary):
    """The registered version. All fields except ``key_figure``, ``metrics`` and ``page`` are also written to ``registration.json``."""

    tracking_uri: str
    """Address of the MLflow server, without credentials."""
    model: str
    version: str
    aliases: list[str]
    gate: GateRecord
    page: str = ""
    """The verdict with every reason, as Markdown."""


def register(config: RegistryConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> RegistrationSummary:
    """Register a student and apply the gate.

    Args:
        inputs: ``student``; ``dataset`` and ``cues`` that it was trained with; ``comparison``; optionally ``evaluation`` and
            ``base_evaluation``, which the comparison holds, too.
        output: folder for ``registration.json``.
        context: its tracker determines the MLflow server.

    Raises:
        VicurError: if the inputs do not belong together, or the MLflow server does not respond.
    """
    client, run_id = context.tracker.client, context.tracker.run_id
    if client is None or run_id is None:
        raise VicurError(
            "tracking is off, so there is no MLflow server to register the student with.",
            where="tracking.uri",
            remedy="Set tracking.uri to the address of a server, or remove the setting to use the embedded store.",
        )
    candidate = read_candidate(inputs)
    with mlflow_errors(client.tracking_uri), as_default(client):
        version = _version_of(client, config, candidate, run_id, context)
        # Every registered student becomes the candidate, whether or not it passes the gate afterwards.
        client.set_registered_model_alias(config.model, CANDIDATE, version.number)
        store_evaluation(client, candidate.evaluation_folder, run_id)
        decision = apply_gate(client, version, candidate, config, context, run_id)
        # Read again: the gate may have changed the aliases.
        version = get_version(client, config.model, version.number)
        publish(client, version, candidate, decision, context.tracker)
        list_in_kubeflow(config.kubeflow, client, config.model)
    summary = _summary(context.tracker.uri or "", version, decision.outcome, candidate)
    record = summary.model_dump(mode="json", exclude={"key_figure", "metrics", "page"})
    (output / REGISTRATION).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return summary


def _version_of(
    client: MlflowClient, config: RegistryConfig, candidate: Candidate, run_id: str, context: Context
) -> Version:
    """Return the student's version, which is created if the student is not registered yet."""
    name = config.model
    identity = {**candidate.lineage.identity(), "vicur.answering": answering_hash(candidate.evaluation.metrics)}
    tags = version_tags(
        method=candidate.lineage.method,
        base=candidate.lineage.parent,
        dataset=candidate.lineage.dataset,
        cues=candidate.lineage.cues,
        on_test=candidate.on_test,
        benchmarks=benchmarks_text(candidate.comparison.benchmarks, candidate.lineage.method),
    )
    existing = find_version(client, name, identity, tags)
    provenance = Provenance.of(candidate, run_id, config.run)

    def complete(model_id: str) -> None:
        """Add what an earlier upload lacks."""
        add_provenance(client, model_id, provenance)
        upload_missing_weights(
            client, Version.to_be(model_id), candidate.student, keep_references=config.weights == "reference"
        )

    if existing is not None:
        if existing.model_id is not None:
            complete(existing.model_id)
        log.info("This student is already registered as version %s of %s.", existing.number, name)
        return existing
    # The version belongs to the run that trained the student if this server has it, else to that of the registration.
    trained = training_run(client, candidate.lineage)
    source = run_id if trained is None else str(trained.info.run_id)
    manifest = read_manifest(candidate.dataset)
    example = StoredSplit(candidate.dataset, REPORT_SPLIT)[0]
    address = address_on_s3(context.addresses.get("student", "")) if config.weights == "reference" else None
    if config.weights == "reference" and address is None:
        log.warning(
            "The student is not on S3, so that its weights are uploaded, although registry.weights is reference."
        )
    return create_version(
        client,
        name,
        identity=identity,
        tags=tags,
        # Settings may contain addresses with credentials, for example of a teacher's server.
        params={key: redacted_value(key, value) for key, value in flattened(candidate.record.training)},
        run_id=source,
        label=candidate.lineage.method,
        description=version_page(
            candidate.lineage, candidate.comparison, None, link_to_training(client, candidate.lineage)
        ),
        pack=lambda model_id: pack(
            candidate.student,
            context.work / "package",
            decoding=candidate.evaluation.metrics.decoding,
            prompts=candidate.evaluation.metrics.prompts,
            example=example,
            video=manifest.source.get("video"),
            videos=any(StoredSplit(candidate.dataset, split).has_videos() for split in manifest.examples),
            provenance=provenance,
            weights=None if address is None else reference_to(candidate.student, address),
            model_id=model_id,
            run_id=source,
        ),
        complete=complete,
    )


def _summary(uri: str, version: Version, outcome: GateOutcome, candidate: Candidate) -> RegistrationSummary:
    state = CHAMPION if CHAMPION in version.aliases else CANDIDATE
    reason = "" if outcome.passed else f": {outcome.reasons[0]}"
    difference = candidate.on_test.difference
    return RegistrationSummary(
        key_figure=f"{version.model} version {version.number} is {state}{reason}",
        metrics={
            "gate_passed": float(outcome.passed),
            "difference": difference.mean,
            "difference_low": difference.low,
            "difference_high": difference.high,
        },
        tracking_uri=uri,
        model=version.model,
        version=version.number,
        aliases=list(version.aliases),
        gate=GateRecord(passed=outcome.passed, reasons=outcome.reasons),
        page=verdict_page(f"{version.model} version {version.number} is {state}", outcome),
    )


REGISTER = Stage("register", register, RegistrationSummary, reusable=False)
