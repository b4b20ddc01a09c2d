"""Promotion and rollback by a user, on versions without files: only the registry is under test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from tests.registry.factory import create_judged_version, store_small_evaluation
from tests.tracking.server import Server
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.registry import promote, rollback
from vicur.registry.history import MoveRecord, history_of
from vicur.registry.promotion import make_champion
from vicur.registry.tags import VERDICT_TAG
from vicur.registry.versions import get_version, version_with_alias
from vicur.tracking.mlflow import connect


@pytest.fixture
def store(request: pytest.FixtureRequest) -> str:
    """Which store a test runs on: the embedded one, unless the test is parametrized with ``both``."""
    return str(getattr(request, "param", "embedded"))


# For tests of behaviour that depends on how a store answers: the server returns its own errors, aliases and deleted versions.
both = pytest.mark.parametrize("store", ["embedded", "server"], indirect=True)


@pytest.fixture
def client(store: str, request: pytest.FixtureRequest) -> MlflowClient:
    """MLflow's client for the embedded store or a server."""
    if store == "embedded":
        shutil.copytree(request.getfixturevalue("empty_store"), "mlflow")
        return connect(TrackingConfig())
    server: Server = request.getfixturevalue("server")
    return connect(TrackingConfig(uri=server.uri))


@pytest.fixture
def name(client: MlflowClient, tmp_path: Path) -> str:
    """A registered model with four versions: 1 and 2 passed the gate, 3 did not, 4 has not been through it."""
    client.create_registered_model(tmp_path.name)
    run_id = store_small_evaluation(client, tmp_path / "evaluation")
    for leaking in (0, 0, 12):
        create_judged_version(client, tmp_path.name, run_id, leaking)
    # The tag was set by hand.
    source = f"{client.get_run(run_id).info.artifact_uri}/nothing"
    client.create_model_version(tmp_path.name, source, run_id, tags={VERDICT_TAG: "passed"})
    return tmp_path.name


def alias(client: MlflowClient, name: str, which: str) -> str | None:
    version = version_with_alias(client, name, which)
    return version and version.number


def moves(client: MlflowClient, name: str, version: str) -> list[MoveRecord]:
    return history_of(client, name).of(version)


@both
def test_a_version_that_passed_is_promoted_and_the_move_is_recorded(client: MlflowClient, name: str) -> None:
    move = promote(client, name, "1", reason="first of its kind")
    assert (move.champion, move.before) == ("1", None)
    move = promote(client, name, "2")
    assert (move.champion, move.before) == ("2", "1")
    assert (alias(client, name, "champion"), alias(client, name, "previous")) == ("2", "1")
    first, second = history_of(client, name).moves
    assert (first.champion, first.before, first.reason) == ("1", None, "first of its kind")
    assert (second.champion, second.before, second.reason, second.forced) == ("2", "1", "No reason given.", False)
    assert first.by == second.by != ""
    assert first.when < second.when
    shown = client.get_model_version(name, "1").description
    assert "version 2 became champion, replacing version 1" in shown
    assert "version 1 became champion, by" in shown


def test_a_version_can_be_named_by_an_alias(client: MlflowClient, name: str) -> None:
    client.set_registered_model_alias(name, "candidate", "2")
    assert promote(client, name, "candidate").champion == "2"


def test_promoting_the_champion_changes_nothing(client: MlflowClient, name: str) -> None:
    promote(client, name, "1")
    before = history_of(client, name).moves
    assert promote(client, name, "1").before == "1"
    assert history_of(client, name).moves == before


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("3", r"did not pass the gate: 12 of 240 responses mention a hint"),
        ("4", "has not been through the gate.*by hand|no verdict"),
    ],
)
def test_a_version_that_did_not_pass_needs_force_and_a_reason(
    client: MlflowClient, name: str, version: str, said: str
) -> None:
    with pytest.raises(VicurError, match=said):
        promote(client, name, version, reason="because")
    with pytest.raises(VicurError, match="cannot be promoted against the gate without a reason"):
        promote(client, name, version, reason=" ", force=True)
    assert alias(client, name, "champion") is None
    promote(client, name, version, reason="a demonstration", force=True)
    assert alias(client, name, "champion") == version
    (move,) = moves(client, name, version)
    assert (move.reason, move.forced) == ("a demonstration", True)


@both
def test_rollbacks_go_back_step_by_step_to_the_first_champion(client: MlflowClient, name: str) -> None:
    for version in ("1", "2"):
        promote(client, name, version)
    promote(client, name, "4", reason="try", force=True)
    assert rollback(client, name, reason="slow").champion == "2"
    assert alias(client, name, "previous") == "1"
    assert rollback(client, name).champion == "1"
    assert alias(client, name, "previous") is None
    with pytest.raises(VicurError, match="no champion before version 1"):
        rollback(client, name)
    assert alias(client, name, "champion") == "1"
    standing = history_of(client, name).standing
    assert "slow" in standing(get_version(client, name, "4"))
    assert standing(get_version(client, name, "1")) == ""


def test_a_version_that_was_rolled_back_needs_force_even_if_it_passed_the_gate(client: MlflowClient, name: str) -> None:
    promote(client, name, "1")
    promote(client, name, "2")
    rollback(client, name, reason="wrong colours")
    with pytest.raises(VicurError, match=r"rolled back to version 1 by .*wrong colours"):
        promote(client, name, "2")
    promote(client, name, "2", reason="colours are right now", force=True)
    assert history_of(client, name).standing(get_version(client, name, "2")) == ""
    promote(client, name, "1", reason="a superseded version needs none")


@both
def test_a_rollback_skips_deleted_versions(client: MlflowClient, name: str) -> None:
    for version in ("1", "2"):
        promote(client, name, version)
    promote(client, name, "3", reason="try", force=True)
    client.delete_model_version(name, "2")
    assert rollback(client, name).champion == "1"


@both
def test_an_alias_that_was_moved_in_the_ui_takes_precedence(client: MlflowClient, name: str) -> None:
    for version in ("1", "2"):
        promote(client, name, version)
    client.set_registered_model_alias(name, "champion", "4")
    assert rollback(client, name).champion == "2"
    client.set_registered_model_alias(name, "champion", "1")
    with pytest.raises(VicurError, match="no champion before version 1"):
        rollback(client, name)


@pytest.mark.parametrize(
    "broken",
    [
        "set_registered_model_tag",
        "set_registered_model_alias",
        "update_model_version",
    ],
)
def test_the_next_promotion_completes_an_interrupted_one(
    client: MlflowClient, name: str, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(client, name, "1")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, broken, stop)
        with pytest.raises(KeyboardInterrupt):
            promote(client, name, "2")
    make_champion(client, get_version(client, name, "2"), reason="again")
    assert (alias(client, name, "champion"), alias(client, name, "previous")) == ("2", "1")
    assert rollback(client, name).champion == "1"


@both
@pytest.mark.parametrize("version", ["9", "unknown", "", "1.5", "-1"])
def test_an_unknown_version_is_refused_with_the_existing_ones(client: MlflowClient, name: str, version: str) -> None:
    with pytest.raises(VicurError, match=r"has no version or alias.*Choose one of its versions: 1, 2, 3, 4"):
        promote(client, name, version)


@both
def test_an_unknown_model_is_refused(client: MlflowClient, tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="no version or alias"):
        promote(client, f"no {tmp_path.name}", "1")
    with pytest.raises(VicurError, match="has no champion"):
        rollback(client, f"no {tmp_path.name}")


def test_secrets_in_a_reason_are_redacted(client: MlflowClient, name: str) -> None:
    promote(client, name, "1", reason="as https://ann:hunter2@wiki/x says")
    promote(client, name, "2")
    rollback(client, name, reason="see https://ann:hunter2@wiki/x")
    texts = [*client.get_registered_model(name).tags.values()]
    texts += [client.get_model_version(name, number).description for number in ("1", "2")]
    assert not any("hunter2" in text for text in texts)
    assert any("https://***@wiki/x" in text for text in texts)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["1", "2", "3", "4", "back"]), max_size=8))
def test_the_champion_follows_from_the_sequence_of_moves(client: MlflowClient, moves: list[str]) -> None:
    # Examples share a store, so each has a model of another name.
    name = f"model {len(client.search_registered_models())}"
    client.create_registered_model(name)
    for _ in range(4):
        client.create_model_version(name, "mlflow-artifacts:/nothing")
    stack: list[str] = []
    for move in moves:
        if move != "back":
            promote(client, name, move, reason="so", force=True)
            stack = [v for v in stack if v != move] + [move]
        elif len(stack) > 1:
            assert rollback(client, name).before == stack.pop()
        else:
            with pytest.raises(VicurError):
                rollback(client, name)
        assert alias(client, name, "champion") == (stack[-1] if stack else None)
        assert alias(client, name, "previous") == (stack[-2] if len(stack) > 1 else None)


def test_a_version_of_an_earlier_release_is_promoted_if_its_registration_logged_that_it_passed(
    client: MlflowClient, tmp_path: Path
) -> None:
    name = tmp_path.name
    client.create_registered_model(name)
    for number, passed in (("1", 1.0), ("2", 0.0)):
        run = client.create_run("0", tags={"vicur.model_version": f"{name}/{number}"})
        client.log_metric(run.info.run_id, "gate_passed", passed)
        tags = {"vicur.gate": "passed", "vicur.registration_run": run.info.run_id}
        client.create_model_version(name, f"{run.info.artifact_uri}/nothing", run.info.run_id, tags=tags)
    with pytest.raises(VicurError, match="no verdict is recorded"):
        promote(client, name, "2")
    assert promote(client, name, "1").champion == "1"
