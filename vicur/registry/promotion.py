"""Move the alias ``champion``: promotion by the gate or by a user, and rollback. Every move is recorded (:mod:`vicur.registry.history`).

Several rollbacks go back several steps. If a user moved the alias in MLflow's UI, the alias takes precedence. Versions that were deleted
are skipped.
"""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

from pydantic import BaseModel

from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.registry.copying import copy_of, copy_version
from vicur.registry.history import (
    ROLLED_BACK,
    History,
    MoveRecord,
    existing,
    history_of,
    record_move,
    standard_of,
)
from vicur.registry.pages import with_moves
from vicur.registry.verdict import objection_to
from vicur.registry.versions import CHAMPION, PREVIOUS, Version, get_version, version_with_alias
from vicur.tracking.mlflow import as_default, creation_lock, mlflow_errors, public_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

_BY_GATE = "the gate"


class Move(BaseModel, frozen=True):
    """A move of ``champion``. If nothing had to be moved, ``before`` is the same as ``champion``."""

    model: str
    champion: str
    before: str | None
    reason: str


def promote(
    client: MlflowClient, name: str, version: str, *, reason: str = "", force: bool = False, to: str | None = None
) -> Move:
    """Promote a version of the registered model ``name``, given by number or alias.

    With ``to``, it becomes the champion of that registered model, to which it is copied unless it is there already. What refuses it leaves
    no copy.

    The gate's verdict is checked again: its rules are applied to the measurements that it recorded, and if another version became champion
    since, the two are compared on their stored answers. A tag that says ``passed`` does not count.

    ``force`` promotes a version that did not pass, or that was rolled back; it requires a ``reason``.

    Raises:
        VicurError: if the version does not exist, or requires ``force`` or a reason.
    """
    with mlflow_errors(client.tracking_uri), as_default(client), creation_lock(client.tracking_uri):
        source = get_version(client, name, version)
        into = to or name
        target = copy_of(client, source, into)
        champion = version_with_alias(client, into, CHAMPION)
        if champion is not None and target is not None and champion.number == target.number:
            reason = "This version is already the champion."
            return Move(model=into, champion=target.number, before=target.number, reason=reason)
        objection = _objection(client, source, target, into)
        require_force(objection, source, reason=reason, force=force)
        given = reason.strip() or "No reason given."
        if into != name:
            given = f"Copied from {name} version {source.number}. {given}"
        target = target or copy_version(client, source, into)
        return make_champion(client, target, reason=given, by=user(), forced=bool(objection))


def require_force(objection: str, version: Version, *, reason: str, force: bool) -> None:
    """Raise an error if there is an objection to a version, and the user did not override it with a reason."""
    if objection and not force:
        raise VicurError(
            objection, where=str(version), remedy="To promote it anyway, add --force and state a --reason."
        )
    if objection and not reason.strip():
        raise VicurError(
            "cannot be promoted against the gate without a reason.",
            where=str(version),
            remedy="State why with --reason.",
        )


def objection_in(client: MlflowClient, version: Version, name: str) -> str:
    """Return why a version may not become champion of its registered model ``name``; empty if it may."""
    return _objection(client, version, version, name)


def _objection(client: MlflowClient, source: Version, target: Version | None, into: str) -> str:
    """Return why a version may not become champion of the registered model ``into``; empty if it may.

    Args:
        target: the version of that model with this content, which may be ``source`` itself.
    """
    for version in (source, target):
        # A superseded version lost to a better one and may return. One that was rolled back had a fault.
        standing = "" if version is None else history_of(client, version.model).standing(version)
        if version is not None and standing.startswith(ROLLED_BACK):
            return f"was {standing}." if version is target else f"was {standing} ({version.model})."
    number = "" if target is None else target.number
    return objection_to(client, target or source, standard_of(client, into, number))


def make_champion(
    client: MlflowClient, version: Version, *, reason: str, by: str = _BY_GATE, forced: bool = False
) -> Move:
    """Move ``champion`` to a version and record it. The caller must hold :func:`creation_lock`.

    Repeating the call completes an interrupted move.
    """
    name, new, reason = version.model, version.number, redacted(reason)
    holder = version_with_alias(client, name, CHAMPION)
    history = history_of(client, name)
    line = history.champions(None if holder is None else holder.number)
    # The champion itself may have been deleted.
    before = line[-1] if line and line[-1] != new else None
    move = MoveRecord(kind="promotion", champion=new, before=before, by=by, reason=reason, forced=forced)
    if not _is_recorded(history, move):
        record_move(client, name, move)
    client.set_registered_model_alias(name, CHAMPION, new)
    _set_previous(client, name, [number for number in line if number != new])
    for number in {new, *([before] if before else [])}:
        _show_moves(client, name, number)
    return Move(model=name, champion=new, before=before, reason=reason)


def _is_recorded(history: History, move: MoveRecord) -> bool:
    # An interrupted move is completed, or the champion passed the gate again.
    last = history.moves[-1] if history.moves else None
    if last is None or last.champion != move.champion:
        return False
    return move.before is None or move == last.model_copy(update={"when": ""})


def _set_previous(client: MlflowClient, name: str, line: list[str]) -> None:
    for number in reversed(line):
        if existing(client, name, number) is not None:
            client.set_registered_model_alias(name, PREVIOUS, number)
            return
    if version_with_alias(client, name, PREVIOUS) is not None:
        client.delete_registered_model_alias(name, PREVIOUS)


def _show_moves(client: MlflowClient, name: str, number: str) -> None:
    """List the moves of a version in its description."""
    if existing(client, name, number) is None:
        return
    description = client.get_model_version(name, number).description or ""
    client.update_model_version(name, number, with_moves(description, history_of(client, name).of(number)))


def rollback(client: MlflowClient, name: str, *, reason: str = "") -> Move:
    """Move ``champion`` back to the previous champion that still exists.

    The gate will not promote the version that lost the alias again; only :func:`promote` can.

    Raises:
        VicurError: if the model has no champion, or no previous champion that still exists.
    """
    reason = redacted(reason.strip()) or "No reason given."
    with mlflow_errors(client.tracking_uri), creation_lock(client.tracking_uri):
        champion = version_with_alias(client, name, CHAMPION)
        line = history_of(client, name).champions(None if champion is None else champion.number)
        where = f"model {name}, {public_uri(client)}"
        if not line:
            raise VicurError(
                "has no champion.", where=where, remedy="Register a student, or promote a version with vicur promote."
            )
        # Without an alias, the champion was deleted, or the alias was removed: the last champion itself may return.
        candidates = line[:-1] if champion is not None or existing(client, name, line[-1]) is None else line
        remaining = [number for number in candidates if existing(client, name, number) is not None]
        if not remaining:
            raise VicurError(
                f"has no champion before version {line[-1]} to return to.",
                where=where,
                remedy="Promote another version with vicur promote.",
            )
        back, left = remaining[-1], line[-1]
        # Recorded first, so that the gate does not undo a rollback that is interrupted before the alias moved.
        record_move(
            client,
            name,
            MoveRecord(kind="rollback", champion=back, before=left if left != back else None, by=user(), reason=reason),
        )
        client.set_registered_model_alias(name, CHAMPION, back)
        _set_previous(client, name, remaining[:-1])
        for number in {back, left}:
            _show_moves(client, name, number)
        return Move(model=name, champion=back, before=left, reason=reason)


def user() -> str:
    """Return the name of the user of this process, for the record of a move."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # Containers often run with a user id that has no name.
        return "an unknown user"
