"""The gate's verdict on a version, with the measurements that it rests on, and the check that it still holds.

``verdict.json`` is next to the version's model. A promotion does not trust the tag that shows the verdict: it applies the rules to the
recorded measurements again, and compares with the present champion if that is another one than the gate compared with.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from vicur.config.registry import GateConfig
from vicur.evaluation.comparison import Evaluation
from vicur.registry.figures import against_figures
from vicur.registry.gate import AGAINST_CHAMPION, GateInputs, GateOutcome, decide
from vicur.registry.history import Standard
from vicur.registry.model_files import read_model_file, write_model_file
from vicur.registry.paired import Resampling, compare_stored, stored_evaluation
from vicur.registry.provenance import provenance_of
from vicur.registry.tags import (
    ACCURACY_TAG,
    PASSED,
    VERDICT_TAG,
    accuracy_text,
    verdict_reasons,
    verdict_state,
    verdict_text,
)
from vicur.registry.versions import Version, tag

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

VERDICT = "verdict.json"
_EARLIER_EVALUATION = "vicur.evaluation_run"
_EARLIER_VERDICTS = 100
_NOT_DECIDED = "has not been through the gate."


class Verdict(BaseModel, frozen=True):
    """Content of ``verdict.json``."""

    model: str
    version: str
    model_id: str
    """The logged model that was judged. A copy of the version has the same one."""
    checkpoint: str
    """SHA-256 over the judged model's files."""
    decided: str
    """Time in UTC."""
    evaluation_run: str
    """MLflow run with the evaluation, as the artifact ``evaluation``."""
    compared_with: str | None
    """Logged model of the champion that it was compared with; ``None`` without one."""
    passed: bool
    reasons: list[str]
    """A sentence for each rule, those that did not pass first."""
    outcome: GateOutcome
    inputs: GateInputs
    """The measurements."""
    config: GateConfig
    """The gate's settings."""
    resampling: Resampling
    """Settings of the confidence intervals."""
    earlier: list[dict[str, str]] = []
    """Tags of earlier verdicts on this model, the last at the end. Copies of the version keep those that they were made with."""

    def tags(self) -> dict[str, str]:
        """Return the tags of a version with this verdict."""
        return {
            VERDICT_TAG: verdict_text(passed=self.passed, reasons=self.reasons),
            # The version may have been evaluated again since it was created.
            ACCURACY_TAG: accuracy_text(self.inputs.accuracy, self.inputs.against_base),
        }


def record_verdict(
    client: MlflowClient,
    version: Version,
    *,
    checkpoint: str,
    evaluation_run: str,
    compared_with: Version | None,
    outcome: GateOutcome,
    inputs: GateInputs,
    config: GateConfig,
    resampling: Resampling,
) -> Verdict:
    """Store the verdict on a version, in ``verdict.json`` and for people in a tag."""
    # That a former champion may not return by the gate follows from the history, and not from what was measured.
    measured = decide(replace(inputs, left=""), config)
    before = verdict_of(client, version)
    verdict = Verdict(
        model=version.model,
        version=version.number,
        model_id=version.model_id or "",
        checkpoint=checkpoint,
        decided=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        evaluation_run=evaluation_run,
        compared_with=None if compared_with is None else compared_with.model_id,
        passed=measured.passed,
        reasons=outcome.reasons,
        outcome=measured,
        inputs=replace(inputs, left=""),
        config=config,
        resampling=resampling,
    )
    if before is not None:
        known = [each for each in (*before.earlier, before.tags()) if each != verdict.tags()]
        distinct = [each for n, each in enumerate(known) if each not in known[n + 1 :]]
        verdict = verdict.model_copy(update={"earlier": distinct[-_EARLIER_VERDICTS:]})
    write_model_file(client, version, VERDICT, verdict.model_dump_json(indent=1) + "\n")
    tag(client, version, verdict.tags())
    return verdict


def verdict_of(client: MlflowClient, version: Version) -> Verdict | None:
    """Return the recorded verdict on a version; ``None`` if there is none, or it is damaged."""
    text = read_model_file(client, version, VERDICT)
    if text is None:
        return None
    try:
        verdict = Verdict.model_validate_json(text)
        # Raises an error if the measurements cover no question.
        decide(verdict.inputs, verdict.config)
        return verdict
    except ValueError as error:
        log.warning("%s: %s is damaged (%s).", version, VERDICT, str(error).splitlines()[0])
        return None


def evaluation_run_of(client: MlflowClient, version: Version) -> str | None:
    """Return the MLflow run with the evaluation of a version."""
    verdict = verdict_of(client, version)
    return verdict.evaluation_run if verdict is not None else version.tags.get(_EARLIER_EVALUATION)


def recorded_objection(client: MlflowClient, version: Version) -> str:
    """Return why a version did not pass the gate, as the end of a sentence; empty if it did, whatever the champion is today."""
    verdict = verdict_of(client, version)
    return _objection_by_tags(client, version) if verdict is None else _objection_in(client, version, verdict)


def _objection_in(client: MlflowClient, version: Version, verdict: Verdict) -> str:
    if verdict.model_id != version.model_id or verdict.checkpoint != provenance_of(client, version).lineage.checkpoint:
        return "has the verdict on another model: register the student again."
    again = decide(verdict.inputs, verdict.config)
    if not again.passed:
        return f"did not pass the gate: {again.reasons[0]}"
    if not verdict.passed:
        return "did not pass the gate, although the measurements in its verdict would: register the student again."
    return ""


def objection_to(client: MlflowClient, version: Version, standard: Standard) -> str:
    """Return why a version may not become champion, as the end of a sentence; empty if its verdict holds."""
    verdict = verdict_of(client, version)
    if verdict is None:
        return _objection_by_tags(client, version)
    if objection := _objection_in(client, version, verdict):
        return objection
    champion = standard.version
    # Neither a champion of an earlier release nor a verdict without a champion has a logged model.
    # A champion of another registered model may be a copy of this version.
    same = champion is not None and champion.model_id in {verdict.compared_with, version.model_id} - {None}
    if champion is None or (champion.model, champion.number) == (version.model, version.number) or same:
        return ""
    return objection_against(
        client, champion, version, verdict, lambda: _evaluation(client, verdict.evaluation_run), standard.missing
    )


def objection_against(
    client: MlflowClient,
    champion: Version,
    version: Version,
    verdict: Verdict,
    evaluation: Callable[[], Evaluation],
    missing: str = "",
) -> str:
    """Return why a version that passed the gate may not replace a champion; empty if it may.

    Args:
        client: client of the server that has the champion.
        version: the version, which may be on another server.
        evaluation: returns the stored evaluation of the version.
        missing: if the last champion is gone, a sentence that says so.
    """
    against = compare_stored(
        client, version, evaluation, (champion, evaluation_run_of(client, champion)), verdict.resampling
    )
    # Those of the verdict are of another champion, or there was none.
    figures = {name: value for name, value in verdict.inputs.figures.items() if not name.startswith(AGAINST_CHAMPION)}
    figures |= against_figures(against)
    inputs = replace(verdict.inputs, champion=against, is_champion=False, missing=missing, figures=figures)
    now = decide(inputs, verdict.config)
    return "" if now.passed else f"passed the gate, but not against the present champion: {now.reasons[0]}"


def _evaluation(client: MlflowClient, run_id: str) -> Evaluation:
    with tempfile.TemporaryDirectory() as folder:
        return stored_evaluation(client, run_id, Path(folder))


def _objection_by_tags(client: MlflowClient, version: Version) -> str:
    """Check a version of a release before 0.2, whose registration logged the decision to its run."""
    state, reasons = verdict_state(version.tags), verdict_reasons(version.tags)
    if not state:
        return _NOT_DECIDED
    if state != PASSED:
        return f"did not pass the gate: {reasons[0]}" if reasons else _NOT_DECIDED
    if _registration_passed(client, version):
        return ""
    return f"{_NOT_DECIDED[:-1]}: its tag says {PASSED!r}, but no verdict is recorded."


def _registration_passed(client: MlflowClient, version: Version) -> bool:
    from mlflow.exceptions import MlflowException

    run_id = version.tags.get(_EARLIER_EVALUATION) or version.tags.get("vicur.registration_run")
    if not run_id:
        return False
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return False
    registered = run.data.tags.get("vicur.model_version") == f"{version.model}/{version.number}"
    return registered and run.data.metrics.get("gate_passed") == 1.0
