"""Apply the gate to a version, record the verdict, and move ``champion`` if the version passed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vicur.config.evaluation import REPORT_SPLIT
from vicur.config.registry import RegistryConfig
from vicur.errors import VicurError
from vicur.registry.candidate import Candidate
from vicur.registry.champion import against_champion, resampling_of
from vicur.registry.figures import figures_of
from vicur.registry.gate import AgainstChampion, GateInputs, GateOutcome, decide
from vicur.registry.history import Standard, history_of, standard_of
from vicur.registry.promotion import make_champion
from vicur.registry.verdict import record_verdict
from vicur.registry.versions import Version
from vicur.stage.runner import Context
from vicur.tracking.mlflow import creation_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

_ATTEMPTS = 5


@dataclass(frozen=True)
class Decision:
    """The gate's decision on a version and the measurements that it rests on."""

    outcome: GateOutcome
    inputs: GateInputs


def apply_gate(
    client: MlflowClient, version: Version, candidate: Candidate, config: RegistryConfig, context: Context, run_id: str
) -> Decision:
    """Decide whether a version becomes champion, and move the alias if it does.

    Args:
        run_id: the MLflow run that holds the candidate's evaluation.

    Raises:
        VicurError: if other runs keep changing the champion.
    """
    for _ in range(_ATTEMPTS):
        standard = standard_of(client, version.model, version.number)
        if standard.missing:
            log.warning("Model %s: %s", version.model, standard.missing)
        against = None
        if standard.version is not None and standard.version.number != version.number:
            against = against_champion(client, standard.version, candidate, config, context)
        inputs = _gate_inputs(client, version, candidate, standard, against)
        outcome = decide(inputs, config.gate)
        with creation_lock(client.tracking_uri):
            # Evaluating a champion takes minutes, so it happens outside the lock. If another run has promoted a version
            # meanwhile, the comparison was with the wrong champion: decide again.
            if _number(standard_of(client, version.model, version.number)) != _number(standard):
                continue
            record_verdict(
                client,
                version,
                checkpoint=candidate.lineage.checkpoint,
                evaluation_run=run_id,
                compared_with=standard.version,
                outcome=outcome,
                inputs=inputs,
                config=config.gate,
                resampling=resampling_of(candidate),
            )
            if outcome.passed:
                make_champion(client, version, reason=outcome.reasons[0])
            return Decision(outcome, inputs)
    raise VicurError(
        f"the champion changed {_ATTEMPTS} times while the gate was deciding.",
        where=f"model {version.model}",
        remedy="Register the student again when the other runs have finished.",
        retryable=True,
    )


def _gate_inputs(
    client: MlflowClient, version: Version, candidate: Candidate, standard: Standard, against: AgainstChampion | None
) -> GateInputs:
    is_champion = standard.is_champion and against is None
    former = history_of(client, version.model).standing(version)
    left = (
        f"Version {version.number} was champion before and was {former}. Only vicur promote can make it champion again."
    )
    return GateInputs(
        examples=candidate.on_test.examples,
        accuracy=candidate.on_test.accuracy,
        base_accuracy=candidate.on_test.base_accuracy,
        against_base=candidate.on_test.difference,
        leaking=candidate.evaluation.metrics.splits[REPORT_SPLIT].hint_leakage.samples,
        confidence=candidate.comparison.confidence,
        champion=against,
        is_champion=is_champion,
        left=left if former and not is_champion else "",
        missing=standard.missing,
        figures=figures_of(candidate, against),
    )


def _number(standard: Standard) -> str | None:
    return None if standard.version is None else standard.version.number
