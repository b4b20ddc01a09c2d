"""The registration stage: a student becomes a version of the registered model, and the gate decides on ``champion``.

Registering is idempotent. The same student finds its version, and the gate is applied again to what was measured now.
The stage never reuses an earlier result: it depends on what the registry holds.
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
from vicur.data import read_examples
from vicur.errors import VicurError
from vicur.redaction import redacted_value
from vicur.registry.candidate import Candidate, read_case
from vicur.registry.champion import keep_answers
from vicur.registry.decision import put_through_gate
from vicur.registry.gate import GateOutcome
from vicur.registry.package import pack
from vicur.registry.pages import version_page
from vicur.registry.publish import publish
from vicur.registry.source import link_to_training, training_run
from vicur.registry.versions import CANDIDATE, CHAMPION, Version, create_version, find_version, get_version
from vicur.stage.runner import Context, Stage, Summary
from vicur.tracking.mlflow import as_default, mlflow_errors
from vicur.tracking.records import flattened

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

REGISTRATION = "registration.json"


class GateRecord(BaseModel):
    """What the gate decided."""

    passed: bool
    reasons: list[str]
    """A sentence with figures for each rule; where the gate did not pass, the rules that were not met come first."""


class RegistrationSummary(Summary):
    """Where the student went. All but key figure and metrics stands in ``registration.json`` too."""

    tracking_uri: str
    """MLflow's address, without secrets."""
    model: str
    version: str
    aliases: list[str]
    gate: GateRecord


def register(config: RegistryConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> RegistrationSummary:
    """Registers a student and puts it through the gate.

    Args:
        config: name of the model, and the gate.
        inputs: ``student``; ``dataset`` and ``cues`` that it was trained with; ``evaluation`` and ``base_evaluation``;
            ``comparison`` of both.
        output: folder for ``registration.json``.
        context: run and tracker; the tracker's MLflow is where the registry is.

    Raises:
        VicurError: where the inputs do not belong together, or MLflow does not answer.
    """
    client, run_id = context.tracker.client, context.tracker.run_id
    if client is None or run_id is None:
        raise VicurError(
            "there is no MLflow to register the student with.",
            where="tracking.uri",
            remedy="Set a tracking URI, or leave it out to use the embedded store.",
        )
    case = read_case(inputs)
    with mlflow_errors(client.tracking_uri), as_default(client):
        version = _version_of(client, config.model, case, run_id, context.work)
        client.set_registered_model_alias(config.model, CANDIDATE, version.number)
        keep_answers(client, version, case.evaluation, run_id)
        outcome = put_through_gate(client, version, case, config, context)
        version = get_version(client, config.model, version.number)
        publish(client, version, case, outcome, context.tracker)
    summary = _summary(context.tracker.uri or "", version, outcome, case)
    record = summary.model_dump(mode="json", exclude={"key_figure", "metrics"})
    (output / REGISTRATION).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return summary


def _version_of(client: MlflowClient, name: str, case: Candidate, run_id: str, work: Path) -> Version:
    """The student's version, created where it has none."""
    found = find_version(client, name, case.lineage.identity())
    if found is not None:
        log.info("this student is version %s of %s already", found.number, name)
        return found
    trained = training_run(client, case.lineage)
    source = run_id if trained is None else str(trained.info.run_id)
    example = read_examples(case.dataset, REPORT_SPLIT)[0]
    facts = case.lineage.tags()
    return create_version(
        client,
        name,
        identity=case.lineage.identity(),
        tags={**facts, "vicur.registration_run": run_id},
        params={key: redacted_value(key, value) for key, value in flattened(case.record.training)},
        run_id=source,
        label=case.lineage.method,
        description=version_page(case.lineage, case.comparison, None, link_to_training(client, case.lineage)),
        pack=lambda model_id: pack(
            case.student,
            work / "package",
            decoding=case.answers.metrics.decoding,
            example=example,
            facts=facts,
            model_id=model_id,
            run_id=source,
        ),
    )


def _summary(uri: str, version: Version, outcome: GateOutcome, case: Candidate) -> RegistrationSummary:
    state = CHAMPION if CHAMPION in version.aliases else CANDIDATE
    said = "" if outcome.passed else f": {outcome.reasons[0]}"
    difference = case.shown.difference
    return RegistrationSummary(
        key_figure=f"{version.model} version {version.number} is {state}{said}",
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
    )


REGISTER = Stage("register", register, RegistrationSummary, reusable=False)
