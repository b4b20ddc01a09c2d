"""Stored version numbers whose versions are gone: the champion, the previous one, all of them."""

from __future__ import annotations

import logging

import pytest

from tests.registry.conftest import Make
from tests.registry.factory import BETTER, GOOD, WORSE_THAN_GOOD, champion, run_register
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.registry import promote, rollback
from vicur.registry.versions import PREVIOUS, version_with_alias
from vicur.tracking.mlflow import connect


def test_a_candidate_is_compared_with_the_base_only_if_the_only_champion_was_deleted(
    students: Make, registered: TrackingConfig, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(registered)
    client.delete_model_version("students", "1")
    with caplog.at_level(logging.WARNING):
        summary = run_register(students(WORSE_THAN_GOOD), tracking=registered, run_id="run-2")
    assert (summary.version, summary.aliases) == ("2", ["candidate", "champion"])
    said = "The champion, version 1, was deleted, and there is no earlier one to compare with."
    assert said in summary.gate.reasons
    assert said in caplog.text
    assert said in client.get_model_version("students", "2").description
    assert champion(client) == "2"
    assert version_with_alias(client, "students", PREVIOUS) is None
    again = run_register(students(WORSE_THAN_GOOD), tracking=registered, run_id="run-3")
    assert (again.version, again.gate.passed) == ("2", True)


def test_a_candidate_is_compared_with_the_last_champion_that_still_exists(
    students: Make, registered: TrackingConfig
) -> None:
    client = connect(registered)
    run_register(students(BETTER), tracking=registered, run_id="run-2")
    client.delete_model_version("students", "2")
    summary = run_register(students(WORSE_THAN_GOOD), tracking=registered, run_id="run-3")
    assert summary.gate.reasons[0].startswith(
        "Worse than the last remaining champion, version 1, on the same 240 questions"
    )
    assert "The champion, version 2, was deleted." in summary.gate.reasons[0]
    assert version_with_alias(client, "students", "champion") is None, "a refused candidate replaces nothing"

    # The same weights as before are a new version, which is better than version 1.
    summary = run_register(students(BETTER), tracking=registered, run_id="run-4")
    assert (summary.version, summary.gate.passed) == ("4", True)
    assert version_with_alias(client, "students", PREVIOUS).number == "1"  # type: ignore[union-attr]


def test_users_promote_and_roll_back_across_deleted_versions(students: Make, registered: TrackingConfig) -> None:
    client = connect(registered)
    run_register(students(BETTER), tracking=registered, run_id="run-2")
    run_register(students(WORSE_THAN_GOOD), tracking=registered, run_id="run-3")
    client.delete_model_version("students", "2")
    with pytest.raises(VicurError, match=r"has no version or alias '2'.*1, 3"):
        promote(client, "students", "2")
    assert promote(client, "students", "3", reason="only one left", force=True).before == "2"
    assert version_with_alias(client, "students", PREVIOUS).number == "1"  # type: ignore[union-attr]
    client.delete_model_version("students", "3")
    move = rollback(client, "students", reason="gone")
    assert (move.champion, move.before) == ("1", "3")
    assert champion(client) == "1"


def test_a_deleted_candidate_is_registered_again_without_a_second_upload(
    students: Make, registered: TrackingConfig
) -> None:
    client = connect(registered)
    client.delete_model_version("students", "1")
    assert run_register(students(GOOD), tracking=registered, run_id="run-2").version == "2"
    experiments = [each.experiment_id for each in client.search_experiments()]
    assert len(client.search_logged_models(experiments)) == 1
