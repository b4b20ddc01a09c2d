"""Copies of a version in another registered model, such as from staging to production."""

from __future__ import annotations

import pytest

from tests.registry.conftest import Make, Registration
from tests.registry.factory import BETTER, GOOD, WORSE_THAN_GOOD, champion, run_register
from vicur.config.registry import RegistryConfig
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.registry import promote, rollback
from vicur.registry.history import history_of
from vicur.registry.provenance import provenance_of
from vicur.registry.verdict import verdict_of
from vicur.registry.versions import get_version
from vicur.tracking.mlflow import connect


@pytest.mark.parametrize("store", ["registered", "on_server"])
def test_a_copy_has_the_files_the_origin_and_the_verdict_of_its_original(
    store: str, request: pytest.FixtureRequest
) -> None:
    fixture = request.getfixturevalue(store)
    client = connect(fixture.tracking if isinstance(fixture, Registration) else fixture)
    original = get_version(client, "students", "champion")
    for _ in range(2):
        move = promote(client, "students", "champion", reason="release 4", to="production")
        assert (move.model, move.champion) == ("production", "1")
    assert len(client.search_model_versions("name = 'production'")) == 1
    copy = get_version(client, "production", "champion")
    assert copy.model_id == original.model_id is not None
    assert copy.tags == original.tags
    assert provenance_of(client, copy) == provenance_of(client, original)
    assert verdict_of(client, copy) == verdict_of(client, original)
    uris = {client.get_model_version_download_uri(each.model, each.number) for each in (copy, original)}
    assert len(uris) == 1, "no bytes were moved"
    (moved,) = history_of(client, "production").moves
    assert moved.reason == "Copied from students version 1. release 4"
    page = client.get_model_version("production", "1").description
    assert "Copied from students version 1" in page
    assert page.count("became champion") == 1, "moves of the original are not those of the copy"


def test_the_gate_is_applied_again_to_a_copy(students: Make, registered: TrackingConfig) -> None:
    client = connect(registered)
    staging = RegistryConfig(model="staging")
    # Better than nothing in staging, but not than what is in production.
    assert run_register(students(WORSE_THAN_GOOD), config=staging, tracking=registered, run_id="run-2").gate.passed
    with pytest.raises(VicurError, match="not against the present champion: Worse than the champion, version 1"):
        promote(client, "staging", "champion", to="students")
    assert len(client.search_model_versions("name = 'students'")) == 1, "what is refused leaves no copy"
    assert run_register(students(BETTER), config=staging, tracking=registered, run_id="run-3").gate.passed
    move = promote(client, "staging", "champion", to="students")
    assert (move.champion, move.before, champion(client)) == ("2", "1", "2")
    # The version is there already: it is used, and not copied back.
    assert run_register(students(GOOD), config=staging, tracking=registered, run_id="run-4").version == "3"
    assert rollback(client, "students", reason="it stutters").champion == "1"
    with pytest.raises(VicurError, match=r"rolled back to version 1 by .*it stutters"):
        promote(client, "staging", "champion", to="students")
    promote(client, "staging", "champion", to="students", force=True, reason="the stutter was in the audio")
    assert champion(client) == "2"
    assert len(client.search_model_versions("name = 'students'")) == 2


def test_a_copy_in_mlflows_ui_is_read_as_a_version_even_after_its_original_was_deleted(
    students: Make, registered: TrackingConfig
) -> None:
    del students
    client = connect(registered)
    original = get_version(client, "students", "1")
    client.copy_model_version("models:/students/1", "by hand")
    client.delete_model_version("students", "1")
    copy = get_version(client, "by hand", "1")
    assert copy.model_id == original.model_id
    assert promote(client, "by hand", "1").champion == "1"


def test_a_version_without_a_record_of_its_content_is_not_copied(registered: TrackingConfig) -> None:
    client = connect(registered)
    run = client.create_run("0").info
    number = client.create_model_version("students", f"{run.artifact_uri}/nothing", run.run_id).version
    with pytest.raises(VicurError, match="no checksum of its checkpoint"):
        promote(client, "students", str(number), to="production", force=True, reason="so")
