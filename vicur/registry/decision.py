"""Puts a version through the gate, writes the decision down, and moves ``champion`` where it passed."""

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


def put_through_gate(
    client: MlflowClient, version: Version, case: Candidate, config: RegistryConfig, context: Context
) -> GateOutcome:
    """Decides and acts on it. Where the champion changes meanwhile (another run was quicker), it decides again.

    Raises:
        VicurError: where the champion keeps changing.
    """
    for _ in range(_ATTEMPTS):
        champion = version_with_alias(client, version.model, CHAMPION)
        against = None
        if champion is not None and champion.number != version.number:
            against = against_champion(client, champion, case, config, context)
        outcome = decide(_measured(client, version, case, champion, against), config.gate)
        with creation_lock(client.tracking_uri):
            if _number(version_with_alias(client, version.model, CHAMPION)) != _number(champion):
                continue
            _write_down(client, version, outcome)
            if outcome.passed:
                make_champion(client, version, reason=outcome.reasons[0])
            return outcome
    raise VicurError(
        "the champion keeps changing while the gate decides.",
        where=f"model {version.model}",
        remedy="Register the student again when the others are done.",
        retryable=True,
    )


def _measured(
    client: MlflowClient,
    version: Version,
    case: Candidate,
    champion: Version | None,
    against: AgainstChampion | None,
) -> GateInputs:
    is_champion = _number(champion) == _number(version)
    standing = former_champion(get_version(client, version.model, version.number))
    left = f"Version {version.number} was champion and was {standing}: it returns by hand only (vicur promote)."
    return GateInputs(
        examples=case.shown.examples,
        accuracy=case.shown.accuracy,
        base_accuracy=case.shown.base_accuracy,
        against_base=case.shown.difference,
        leaking=case.answers.metrics.splits[REPORT_SPLIT].hint_leakage.samples,
        confidence=case.comparison.confidence,
        champion=against,
        is_champion=is_champion,
        left=left if standing and not is_champion else "",
    )


def _number(version: Version | None) -> str | None:
    return None if version is None else version.number


def _write_down(client: MlflowClient, version: Version, outcome: GateOutcome) -> None:
    """Tags the version. Whether it showed enough counts here; that a former champion may not return stands elsewhere."""
    enough = all(rule.passed for rule in outcome.rules if rule.name != "no way back")
    state = PASSED if enough else "not passed"
    tag(client, version, {GATE_TAG: state, REASONS_TAG: "\n".join(outcome.reasons)})
