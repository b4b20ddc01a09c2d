"""Moves ``champion``: by the gate, by hand, and back again. Every move leaves a record.

The registered model's tag ``vicur.champions`` holds the versions that were champion, the present one last: ``promote`` adds
to it and ``rollback`` takes from it, so that several rollbacks go several steps back. Where the alias was moved by other
hands (MLflow's UI), the alias is right and the list follows.

On the versions themselves stand ``vicur.standing`` (what a version is now: champion, superseded, rolled back) and a tag
``vicur.audit <time>`` for each move: who, why, from which version.
"""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel

from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.registry.versions import CHAMPION, PREVIOUS, Version, get_version, tag, version_with_alias
from vicur.tracking.mlflow import creation_lock, mlflow_errors, public_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPIONS_TAG = "vicur.champions"
STANDING_TAG = "vicur.standing"
AUDIT_TAG = "vicur.audit"
GATE_TAG = "vicur.gate"
REASONS_TAG = "vicur.gate.reasons"
PASSED = "passed"
_ROLLED_BACK = "rolled back"
_BY_GATE = "gate"


class Move(BaseModel, frozen=True):
    """A move of ``champion``."""

    model: str
    champion: str
    """Version that is champion now."""
    before: str | None
    """Version that was; ``None`` where there was none. The same as ``champion`` where nothing had to be moved."""
    reason: str


def promote(client: MlflowClient, name: str, version: str, *, reason: str = "", force: bool = False) -> Move:
    """Makes a version champion by hand.

    Args:
        client: from ``vicur.tracking.connect``.
        name: registered model.
        version: number or alias.
        reason: why; needed with ``force``.
        force: promote a version that the gate did not pass, or a former champion.

    Raises:
        VicurError: where there is no such version, or it needs ``force``.
    """
    with mlflow_errors(client.tracking_uri), creation_lock(client.tracking_uri):
        found = get_version(client, name, version)
        champion = version_with_alias(client, name, CHAMPION)
        if champion is not None and champion.number == found.number:
            return Move(model=name, champion=found.number, before=found.number, reason="It is champion already.")
        objection = _objection(found)
        if objection and not force:
            raise VicurError(objection, where=str(found), remedy="Promote it with --force and a --reason if you must.")
        if objection and not reason.strip():
            raise VicurError(
                "is promoted against the gate without a reason.", where=str(found), remedy="Say why with --reason."
            )
        return make_champion(client, found, reason=reason.strip() or "by hand", by=_user())


def former_champion(version: Version) -> str:
    """Why a version that was champion is one no longer (``superseded by version 3``); empty for all others."""
    standing = str(version.tags.get(STANDING_TAG, ""))
    return "" if standing == CHAMPION else standing


def _objection(version: Version) -> str:
    standing = former_champion(version)
    if standing.startswith(_ROLLED_BACK):
        return f"was {standing}."
    if version.tags.get(GATE_TAG) == PASSED:
        return ""
    reasons = version.tags.get(REASONS_TAG, "").splitlines()
    return f"did not pass the gate: {reasons[0]}" if reasons else "was never put through the gate."


def make_champion(client: MlflowClient, version: Version, *, reason: str, by: str = _BY_GATE) -> Move:
    """Moves ``champion`` to a version and records it. Safe to repeat: an interrupted move is completed.

    The caller holds :func:`creation_lock`.
    """
    name, new, reason = version.model, version.number, redacted(reason)
    before = version_with_alias(client, name, CHAMPION)
    champions = [v for v in _champions(client, name) if v != new] + [new]
    client.set_registered_model_tag(name, CHAMPIONS_TAG, json.dumps(champions))
    client.set_registered_model_alias(name, CHAMPION, new)
    if len(champions) > 1:
        client.set_registered_model_alias(name, PREVIOUS, champions[-2])
    old = None if before is None else before.number
    if before is not None and old != new:
        tag(client, before, {STANDING_TAG: f"superseded by version {new}"})
        _audit(client, before, f"superseded by version {new} ({by}: {reason})")
    if old != new:
        _audit(client, version, f"promoted by {by}, before it version {old or 'none'}: {reason}")
    tag(client, version, {STANDING_TAG: CHAMPION})
    return Move(model=name, champion=new, before=old, reason=reason)


def rollback(client: MlflowClient, name: str, *, reason: str = "") -> Move:
    """Moves ``champion`` back to the version that was champion before.

    The version that loses it does not come back by the gate, only by :func:`promote`.

    Raises:
        VicurError: where there is no champion, or none before it that still exists.
    """
    reason = redacted(reason.strip()) or "no reason given"
    with mlflow_errors(client.tracking_uri), creation_lock(client.tracking_uri):
        champion = version_with_alias(client, name, CHAMPION)
        where = f"model {name}, {public_uri(client)}"
        if champion is None:
            raise VicurError(
                "has no champion.", where=where, remedy="Register a student, or promote a version by hand."
            )
        champions = [_found(client, name, number) for number in _champions(client, name)[:-1]]
        left = [version for version in champions if version is not None]
        if not left:
            raise VicurError(
                f"has no champion before version {champion.number} to go back to.",
                where=where,
                remedy="Promote another version by hand.",
            )
        back = left[-1]
        said = f"{_ROLLED_BACK} to version {back.number} by {_user()}: {reason}"
        # The mark goes first: a rollback that is interrupted must not be undone by the next run of the gate.
        tag(client, champion, {STANDING_TAG: said})
        client.set_registered_model_alias(name, CHAMPION, back.number)
        client.set_registered_model_tag(name, CHAMPIONS_TAG, json.dumps([version.number for version in left]))
        if len(left) > 1:
            client.set_registered_model_alias(name, PREVIOUS, left[-2].number)
        else:
            client.delete_registered_model_alias(name, PREVIOUS)
        tag(client, back, {STANDING_TAG: CHAMPION})
        _audit(client, champion, said)
        _audit(client, back, f"champion again, after version {champion.number}, by {_user()}: {reason}")
        return Move(model=name, champion=back.number, before=champion.number, reason=reason)


def _champions(client: MlflowClient, name: str) -> list[str]:
    """Versions that were champion, the present one last, as far as the list agrees with the alias."""
    champion = version_with_alias(client, name, CHAMPION)
    recorded = [str(number) for number in json.loads(client.get_registered_model(name).tags.get(CHAMPIONS_TAG, "[]"))]
    if champion is None:
        return recorded
    now = champion.number
    return recorded[: recorded.index(now) + 1] if now in recorded else [*recorded, now]


def _found(client: MlflowClient, name: str, number: str) -> Version | None:
    """A version, unless it has been deleted meanwhile."""
    try:
        return get_version(client, name, number)
    except VicurError:
        return None


def _audit(client: MlflowClient, version: Version, event: str) -> None:
    moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    tag(client, version, {f"{AUDIT_TAG} {moment}": redacted(event)})


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
