"""Move the alias ``champion``: promotion by the gate or by a user, and rollback. Every move is recorded.

The tag ``vicur.champions`` of the registered model lists the versions that were champion, the current one last.
:func:`promote` appends to it and :func:`rollback` removes from it, so that several rollbacks go back several steps. If a
user moved the alias in MLflow's UI, the alias takes precedence and the list is corrected.

Each version has the tag ``vicur.standing`` (champion, superseded or rolled back) and a tag ``vicur.audit <time>`` for each
move, with the user, the reason and the previous version.
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
    """A move of ``champion``. If nothing had to be moved, ``before`` is the same as ``champion``."""

    model: str
    champion: str
    before: str | None
    reason: str


def promote(client: MlflowClient, name: str, version: str, *, reason: str = "", force: bool = False) -> Move:
    """Promote a version of the registered model ``name``, given by number or alias.

    ``force`` promotes a version that did not pass the gate, or that was rolled back; it requires a ``reason``.

    Raises:
        VicurError: if the version does not exist, or requires ``force`` or a reason.
    """
    with mlflow_errors(client.tracking_uri), creation_lock(client.tracking_uri):
        target = get_version(client, name, version)
        champion = version_with_alias(client, name, CHAMPION)
        if champion is not None and champion.number == target.number:
            reason = "This version is already the champion."
            return Move(model=name, champion=target.number, before=target.number, reason=reason)
        objection = _objection(target)
        if objection and not force:
            raise VicurError(
                objection, where=str(target), remedy="To promote it anyway, add --force and state a --reason."
            )
        if objection and not reason.strip():
            raise VicurError(
                "cannot be promoted against the gate without a reason.",
                where=str(target),
                remedy="State why with --reason.",
            )
        return make_champion(client, target, reason=reason.strip() or "no reason given", by=_user())


def former_champion(version: Version) -> str:
    """Return why a former champion lost the alias (``superseded by version 3``); empty for all other versions."""
    state = str(version.tags.get(STANDING_TAG, ""))
    return "" if state == CHAMPION else state


def _objection(version: Version) -> str:
    # A superseded version lost to a better one and may return. One that was rolled back had a fault.
    former = former_champion(version)
    if former.startswith(_ROLLED_BACK):
        return f"was {former}."
    if version.tags.get(GATE_TAG) == PASSED:
        return ""
    reasons = version.tags.get(REASONS_TAG, "").splitlines()
    return f"did not pass the gate: {reasons[0]}" if reasons else "has not been through the gate."


def make_champion(client: MlflowClient, version: Version, *, reason: str, by: str = _BY_GATE) -> Move:
    """Move ``champion`` to a version and record it. The caller must hold :func:`creation_lock`.

    Repeating the call completes an interrupted move.
    """
    name, new, reason = version.model, version.number, redacted(reason)
    before = version_with_alias(client, name, CHAMPION)
    # The list is written before the alias: after an interruption, the alias still points to the old champion, and
    # _champions cuts the list off there.
    champions = [v for v in _champions(client, name) if v != new] + [new]
    client.set_registered_model_tag(name, CHAMPIONS_TAG, json.dumps(champions))
    client.set_registered_model_alias(name, CHAMPION, new)
    if len(champions) > 1:
        client.set_registered_model_alias(name, PREVIOUS, champions[-2])
    # If an interrupted move is completed, the alias already points to the new version, and its audit entry exists.
    old = None if before is None else before.number
    if before is not None and old != new:
        tag(client, before, {STANDING_TAG: f"superseded by version {new}"})
        _audit(client, before, f"superseded by version {new} ({by}: {reason})")
    if old != new:
        _audit(
            client,
            version,
            f"promoted by {by}, replacing version {old}: {reason}"
            if old
            else f"promoted by {by}, as the first champion: {reason}",
        )
    tag(client, version, {STANDING_TAG: CHAMPION})
    return Move(model=name, champion=new, before=old, reason=reason)


def rollback(client: MlflowClient, name: str, *, reason: str = "") -> Move:
    """Move ``champion`` back to the previous champion.

    The gate will not promote the version that lost the alias again; only :func:`promote` can.

    Raises:
        VicurError: if the model has no champion, or no previous champion that still exists.
    """
    reason = redacted(reason.strip()) or "no reason given"
    with mlflow_errors(client.tracking_uri), creation_lock(client.tracking_uri):
        champion = version_with_alias(client, name, CHAMPION)
        where = f"model {name}, {public_uri(client)}"
        if champion is None:
            raise VicurError(
                "has no champion.", where=where, remedy="Register a student, or promote a version with vicur promote."
            )
        # Versions that were deleted meanwhile are skipped.
        earlier = [_existing(client, name, number) for number in _champions(client, name)[:-1]]
        remaining = [version for version in earlier if version is not None]
        if not remaining:
            raise VicurError(
                f"has no champion before version {champion.number} to return to.",
                where=where,
                remedy="Promote another version with vicur promote.",
            )
        back = remaining[-1]
        event = f"{_ROLLED_BACK} to version {back.number} by {_user()}: {reason}"
        # The tag is set first, so that the gate does not undo a rollback that is interrupted before the alias moved.
        tag(client, champion, {STANDING_TAG: event})
        client.set_registered_model_alias(name, CHAMPION, back.number)
        client.set_registered_model_tag(name, CHAMPIONS_TAG, json.dumps([version.number for version in remaining]))
        if len(remaining) > 1:
            client.set_registered_model_alias(name, PREVIOUS, remaining[-2].number)
        else:
            client.delete_registered_model_alias(name, PREVIOUS)
        tag(client, back, {STANDING_TAG: CHAMPION})
        _audit(client, champion, event)
        _audit(client, back, f"champion again, replacing version {champion.number}, by {_user()}: {reason}")
        return Move(model=name, champion=back.number, before=champion.number, reason=reason)


def _champions(client: MlflowClient, name: str) -> list[str]:
    """Return the versions that were champion, the current one last. The alias takes precedence over the recorded list."""
    champion = version_with_alias(client, name, CHAMPION)
    recorded = [str(number) for number in json.loads(client.get_registered_model(name).tags.get(CHAMPIONS_TAG, "[]"))]
    if champion is None:
        return recorded
    current = champion.number
    return recorded[: recorded.index(current) + 1] if current in recorded else [*recorded, current]


def _existing(client: MlflowClient, name: str, number: str) -> Version | None:
    try:
        return get_version(client, name, number)
    except VicurError:
        return None


def _audit(client: MlflowClient, version: Version, event: str) -> None:
    # Tags have no order: the time in the key makes entries unique and sortable.
    moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    tag(client, version, {f"{AUDIT_TAG} {moment}": redacted(event)})


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # Containers often run with a user id that has no name.
        return "an unknown user"
