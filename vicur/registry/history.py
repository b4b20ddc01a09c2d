"""The moves of the alias ``champion``, which the registered model keeps as tags, and what follows from them.

Each move is a tag ``vicur.move <time>`` with who moved the alias, when and why. Tags are only added, so two users who move the alias at the
same time lose no record. A move is recorded before the alias moves: readers follow the alias, which changes in one request, and after an
interruption the alias still says which version is in use.

Any version that a move names may have been deleted since.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ValidationError

from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.registry.versions import CHAMPION, Version, get_version, version_with_alias

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

MOVE_TAG = "vicur.move"
# Written by releases before 0.2: the list of champions of the registered model, and the standing of a version.
CHAMPIONS_TAG = "vicur.champions"
STANDING_TAG = "vicur.standing"
ROLLED_BACK = "rolled back"


class MoveRecord(BaseModel, frozen=True):
    """A move of ``champion``. ``before`` is the version that had the alias, if any."""

    kind: Literal["promotion", "rollback"]
    champion: str
    before: str | None = None
    by: str = ""
    reason: str = ""
    forced: bool = False
    """Whether a user promoted the version against the gate."""
    when: str = ""
    """Time in UTC; empty before it is recorded."""

    def __str__(self) -> str:
        what = "champion again" if self.kind == "rollback" else "champion"
        instead = f", replacing version {self.before}" if self.before else ""
        against = ", against the gate" if self.forced else ""
        moment = self.when[:16].replace("T", " ")
        return f"{moment} UTC: version {self.champion} became {what}{instead}, by {self.by}{against}. {self.reason}"


@dataclass(frozen=True)
class History:
    """All recorded moves, the oldest first."""

    moves: tuple[MoveRecord, ...] = ()
    earlier: tuple[str, ...] = ()
    """Champions before the first move, the last one at the end."""

    def champions(self, current: str | None) -> list[str]:
        """Return the versions that a rollback can return to, and last the champion.

        Args:
            current: version that the alias points to. It takes precedence, because a user may have moved it in MLflow's UI.
        """
        line = list(self.earlier)
        for move in self.moves:
            # Someone may have moved the alias in MLflow's UI, or the move before was interrupted before the alias moved.
            if move.before is not None:
                line = line[: line.index(move.before) + 1] if move.before in line else [*line, move.before]
            if move.kind == "rollback" and move.champion in line:
                del line[line.index(move.champion) + 1 :]
            else:
                line = [number for number in line if number != move.champion] + [move.champion]
        if current is None:
            return line
        return line[: line.index(current) + 1] if current in line else [*line, current]

    def standing(self, version: Version) -> str:
        """Return why a former champion lost the alias (``superseded by version 3``); empty for all other versions."""
        standing = str(version.tags.get(STANDING_TAG, ""))
        for move in self.moves:
            if move.champion == version.number:
                standing = CHAMPION
            elif move.before == version.number and move.kind == "rollback":
                standing = f"{ROLLED_BACK} to version {move.champion} by {move.by}: {move.reason}"
            elif move.before == version.number:
                standing = f"superseded by version {move.champion}"
        return "" if standing == CHAMPION else standing

    def of(self, number: str) -> list[MoveRecord]:
        """Return the moves that gave a version the alias or took it away."""
        return [move for move in self.moves if number in (move.champion, move.before)]


def history_of(client: MlflowClient, name: str) -> History:
    """Read the moves of a registered model; none if the model does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        tags = client.get_registered_model(name).tags
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return History()
    moves = (_parsed(key, str(value)) for key, value in sorted(tags.items()) if key.startswith(f"{MOVE_TAG} "))
    return History(tuple(move for move in moves if move is not None), _earlier(tags.get(CHAMPIONS_TAG, "[]")))


def _parsed(key: str, value: str) -> MoveRecord | None:
    try:
        return MoveRecord.model_validate_json(value).model_copy(update={"when": key.removeprefix(f"{MOVE_TAG} ")})
    except ValidationError:
        # It was edited by hand. The alias and the other moves still count.
        log.warning("The tag %r of the registered model is not a move of %s: %.100s", key, CHAMPION, value)
        return None


def _earlier(text: str) -> tuple[str, ...]:
    try:
        numbers = json.loads(text)
    except ValueError:
        numbers = None
    if not isinstance(numbers, list):
        log.warning("The tag %s of the registered model is not a list of versions: %.100s", CHAMPIONS_TAG, text)
        return ()
    return tuple(str(number) for number in numbers)


def record_move(client: MlflowClient, name: str, move: MoveRecord) -> None:
    """Add a move to a registered model's tags, secrets in its reason masked."""
    # Tags have no order: the time in the key makes records unique and sortable.
    moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    masked = move.model_copy(update={"reason": redacted(move.reason)})
    text = masked.model_dump_json(exclude={"when"}, exclude_defaults=True)
    client.set_registered_model_tag(name, f"{MOVE_TAG} {moment}", text)


def existing(client: MlflowClient, name: str, number: str) -> Version | None:
    """Return a version, or ``None`` if it was deleted."""
    try:
        found = get_version(client, name, number)
    except VicurError:
        return None
    # A version whose number is not found may still be the name of an alias.
    return found if found.number == number else None


@dataclass(frozen=True)
class Standard:
    """The version that a candidate must not be worse than."""

    version: Version | None
    """``None`` if there is none: only the base is left to compare with."""
    is_champion: bool = False
    """Whether it has the alias now."""
    missing: str = ""
    """If the champion is gone, a sentence that says so."""


def standard_of(client: MlflowClient, name: str, candidate: str) -> Standard:
    """Return the champion, or if it was deleted or lost its alias, the last champion that still exists.

    Args:
        candidate: number of the version that is compared.
    """
    champion = version_with_alias(client, name, CHAMPION)
    if champion is not None:
        return Standard(champion, is_champion=True)
    line = history_of(client, name).champions(None)
    for number in reversed(line):
        found = existing(client, name, number)
        if found is None:
            continue
        if number == candidate and number == line[-1]:
            # A promotion of this very version was interrupted.
            return Standard(None)
        was = "was deleted" if number != line[-1] else "no longer has the alias champion"
        return Standard(found, missing=f"The champion, version {line[-1]}, {was}.")
    if not line:
        return Standard(None)
    missing = f"The champion, version {line[-1]}, was deleted, and there is no earlier one to compare with."
    return Standard(None, missing=missing)
