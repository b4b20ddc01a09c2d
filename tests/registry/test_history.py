"""What the recorded moves of the alias say, including after someone moved it in MLflow's UI."""

from __future__ import annotations

import pytest

from vicur.registry.history import History, MoveRecord


def promoted(champion: str, before: str | None) -> MoveRecord:
    return MoveRecord(kind="promotion", champion=champion, before=before)


ORDINARY = (promoted("1", None), promoted("2", "1"), promoted("3", "2"), promoted("4", "3"))
BACK = MoveRecord(kind="rollback", champion="3", before="4")


@pytest.mark.parametrize(
    ("moves", "current", "line"),
    [
        (ORDINARY, "4", ["1", "2", "3", "4"]),
        ((*ORDINARY, BACK), "3", ["1", "2", "3"]),
        # The alias has not moved: the rollback was interrupted.
        ((*ORDINARY, BACK), "4", ["1", "2", "3", "4"]),
        # Moved to 2, or to 7, in MLflow's UI before the next promotion.
        ((*ORDINARY, promoted("5", "2")), "5", ["1", "2", "5"]),
        ((*ORDINARY, promoted("8", "7")), "8", ["1", "2", "3", "4", "7", "8"]),
        # The promotion of 5 was interrupted before the alias moved.
        ((*ORDINARY, promoted("5", "4"), promoted("6", "4")), "6", ["1", "2", "3", "4", "6"]),
    ],
)
def test_a_rollback_returns_to_the_version_that_had_the_alias(
    moves: tuple[MoveRecord, ...], current: str, line: list[str]
) -> None:
    assert History(moves).champions(current) == line
