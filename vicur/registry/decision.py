"""Apply the gate to a version, record the decision, and move ``champion`` if the version passed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vicur.config.evaluation import REPORT_SPLIT
from vicur.config.registry import RegistryConfig
from vicur.errors import VicurError
from vicur.registry.candidate import Candidate
from vicur.registry.champion import against_champion
from vicur.registry.gate import AgainstChampion, GateInputs, GateOutcome, decide
from vicur.registry.promotion import GATE_TAG, PASSED, REASONS_TAG, former_champion, make_champion
from vicur.registry.versions import CHAMPION, Version, get_version, tag, version_with_alias
from vicur.stage.runner import Context
from vicur.tracking.mlflow import creation_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ATTEMPTS = 5


def apply_gate(
    client: MlflowClient, version: Version, candidate: Candidate, config: RegistryConfig, context: Context
) -> GateOutcome:
    """Decide whether a version becomes champion, and move the alias if it does.

    Raises:
        VicurError: if other runs keep changing the champion.
    """
    for _ in range(_ATTEMPTS):
        champion = version_with_alias(client, version.model, CHAMPION)
        against = None
        if champion is not None and champion.number != version.number:
            against = against_champion(client, champion, candidate, config, context)
        outcome = decide(_gate_inputs(client, version, candidate, champion, against), config.gate)
        with creation_lock(client.tracking_uri):
            # Evaluating a champion takes minutes, so it happens outside the lock. If another run has promoted a version
            # meanwhile, the comparison was with the wrong champion: decide again.
            if _number(version_with_alias(client, version.model, CHAMPION)) != _number(champion):
                continue
            _record(client, version, outcome)
            if outcome.passed:
                make_champion(client, version, reason=outcome.reasons[0])
            return outcome
    raise VicurError(
        f"the champion changed {_ATTEMPTS} times while the gate was deciding.",
        where=f"model {version.model}",
        remedy="Register the student again when the other runs have finished.",
        retryable=True,
    )


def _gate_inputs(
    client: MlflowClient,
    version: Version,
    candidate: Candidate,
    champion: Version | None,
    against: AgainstChampion | None,
) -> GateInputs:
    is_champion = _number(champion) == _number(version)
    # Read the version again: its tags may have changed since it was registered.
    former = former_champion(get_version(client, version.model, version.number))
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
    )


def _number(version: Version | None) -> str | None:
    return None if version is None else version.number


def _record(client: MlflowClient, version: Version, outcome: GateOutcome) -> None:
    # The tag says whether the measurements were sufficient, so that promote needs no --force for them. That a former
    # champion may not return by the gate is recorded in its own tag.
    sufficient = all(rule.passed for rule in outcome.rules if rule.name != "no way back")
    state = PASSED if sufficient else "not passed"
    tag(client, version, {GATE_TAG: state, REASONS_TAG: "\n".join(outcome.reasons)})
