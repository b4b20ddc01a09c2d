"""Promotion of a version on another MLflow server, to which its files are copied."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from typer.testing import CliRunner

from tests.registry.conftest import Make
from tests.registry.factory import BETTER, WORSE, WORSE_THAN_GOOD, champion, run_register
from tests.tracking.server import Server
from vicur.cli import app
from vicur.config.registry import RegistryConfig
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.registry import rollback
from vicur.registry.audit import audit
from vicur.registry.chain import chain_of
from vicur.registry.checkpoints import fetch
from vicur.registry.elsewhere import other_server, promote_elsewhere, server_of
from vicur.registry.history import history_of
from vicur.registry.promotion import Move, promote
from vicur.registry.provenance import provenance_of
from vicur.registry.verdict import verdict_of
from vicur.registry.versions import get_version
from vicur.tracking.mlflow import as_default, connect


@pytest.fixture
def other(project: Path, empty_store: Path) -> str:
    """The address of a second, empty store."""
    shutil.copytree(empty_store, project / "elsewhere")
    return f"sqlite:///{project}/elsewhere/mlflow.db"


def copied(
    here: MlflowClient, uri: str, *, name: str = "students", version: str = "champion", **options: object
) -> Move:
    settings = {"into": "production", "experiment": "copies", **options}
    return promote_elsewhere(server_of(here), name, version, other_server(uri), **settings)  # type: ignore[arg-type]


def test_a_copy_on_a_server_is_a_complete_version(registered: TrackingConfig, server: Server, tmp_path: Path) -> None:
    here, into = connect(registered), tmp_path.name
    original = get_version(here, "students", "champion")
    for reason in ("release 4", "again"):
        assert copied(here, server.uri, into=into, reason=reason).champion == "1"
    there = connect(TrackingConfig(uri=server.uri))
    assert len(there.search_model_versions(f"name = '{into}'")) == 1
    copy = get_version(there, into, "champion")
    assert copy.tags == original.tags
    assert copy.model_id not in (None, original.model_id)

    before, after = provenance_of(here, original), provenance_of(there, copy)
    assert after == before.model_copy(update={"copied_from": f"models:/students/1 at {here.tracking_uri}"})
    judged, kept = verdict_of(here, original), verdict_of(there, copy)
    assert judged is not None
    assert kept is not None
    assert (kept.inputs, kept.reasons, kept.decided) == (judged.inputs, judged.reasons, judged.decided)
    with as_default(there):
        assert audit(there, into) == []
        chain = chain_of(there, copy, after)
    assert chain.links[0].facts["copied from"] == after.copied_from
    (moved,) = history_of(there, into).moves
    assert moved.reason == f"Copied from {after.copied_from}. release 4"
    page = there.get_model_version(into, "1").description
    assert "Copied from models:/students/1 at" in page
    assert "Training run" not in page, "a link of the other server leads nowhere"

    (of_original, of_copy) = (
        fetch(client, f"models:/{name}@champion", tmp_path / into).folder
        for client, name, into in ((here, "students", "here"), (there, into, "there"))
    )
    for file in sorted(of_original.rglob("*")):
        assert file.is_dir() or (of_copy / file.relative_to(of_original)).read_bytes() == file.read_bytes()
    figures = {
        (each.key, each.value, each.dataset_digest)
        for client, version in ((here, original), (there, copy))
        for each in client.get_logged_model(version.model_id).metrics
    }
    assert len(figures) == 3
    run = there.get_run(there.get_model_version(into, "1").run_id)
    assert (run.info.status, run.data.tags["vicur.copy_of"]) == ("FINISHED", "students/1")


def test_the_gate_decides_on_the_other_server(students: Make, registered: TrackingConfig, other: str) -> None:
    here = connect(registered)
    assert copied(here, other).champion == "1"
    there = connect(TrackingConfig(uri=other))
    staging = RegistryConfig(model="staging")
    for reader, passes in ((WORSE_THAN_GOOD, True), (WORSE, False)):
        summary = run_register(students(reader), config=staging, tracking=registered, run_id=f"run-{reader.misreads}")
        assert summary.gate.passed == passes
    for version, problem in (
        ("1", "not against the present champion: Worse than the champion, version 1"),
        ("2", "did not pass"),
    ):
        with pytest.raises(VicurError, match=problem):
            copied(here, other, name="staging", version=version)
    assert len(there.search_model_versions("name = 'production'")) == 1, "what is refused leaves no copy"
    assert run_register(students(BETTER), config=staging, tracking=registered, run_id="run-4").gate.passed
    move = copied(here, other, name="staging")
    assert (move.champion, move.before) == ("2", "1")

    assert rollback(there, "production", reason="it stutters").champion == "1"
    with pytest.raises(VicurError, match=r"rolled back to version 1 by .*it stutters"):
        copied(here, other, name="staging")
    with pytest.raises(VicurError, match="without a reason"):
        copied(here, other, name="staging", force=True)
    assert copied(here, other, name="staging", force=True, reason="the audio stuttered").champion == "2"
    assert champion(there, "production") == "2"
    assert len(there.search_model_versions("name = 'production'")) == 2
    # A verdict holds on the server that it was copied to.
    assert promote(there, "production", "1", force=True, reason="a test").champion == "1"
    assert promote(there, "production", "2", force=True, reason="a test").champion == "2"


def test_a_version_that_was_rolled_back_is_not_copied(students: Make, registered: TrackingConfig, other: str) -> None:
    here = connect(registered)
    assert run_register(students(BETTER), tracking=registered, run_id="run-2").gate.passed
    rollback(here, "students", reason="it stutters")
    with pytest.raises(VicurError, match="rolled back to version 1"):
        copied(here, other, version="2")
    assert connect(TrackingConfig(uri=other)).search_model_versions("name = 'production'") == []


@pytest.mark.parametrize("fails", ["log_model_artifacts", "create_model_version", "set_registered_model_alias"])
def test_an_interrupted_copy_is_continued(
    fails: str, registered: TrackingConfig, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = connect(registered)

    def fail(*_: object, **__: object) -> None:
        raise MlflowException("Connection refused", error_code=1)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, fails, fail)
        with pytest.raises(VicurError, match="does not respond") as raised:
            copied(here, other)
        assert raised.value.retryable
    assert copied(here, other).champion == "1"
    there = connect(TrackingConfig(uri=other))
    experiment = there.get_experiment_by_name("copies").experiment_id
    assert len(there.search_model_versions("name = 'production'")) == 1
    assert len(there.search_logged_models([experiment])) == 1
    (run,) = there.search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert len(history_of(there, "production").moves) == 1


def test_weights_that_do_not_match_are_not_copied(registered: TrackingConfig, other: str) -> None:
    (weights,) = Path("mlflow").glob("**/artifacts/checkpoint/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(VicurError, match="its checkpoint has the checksum"):
        copied(connect(registered), other)
    there = connect(TrackingConfig(uri=other))
    assert there.search_model_versions("name = 'production'") == []


@contextmanager
def listener(seen: list[str | None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_error(401)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_the_credentials_of_a_server_are_sent_to_no_other(
    registered: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "first")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "of the first server")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token of the first server")
    here, seen = connect(registered), []
    with listener(seen) as uri:
        with pytest.raises(VicurError, match="VICUR_TO_USERNAME and VICUR_TO_PASSWORD"):
            copied(here, uri)
        assert set(seen) == {None}
        monkeypatch.setenv("VICUR_TO_TOKEN", "theirs")
        with pytest.raises(VicurError, match="credentials"):
            copied(here, uri)
        assert seen[-1] == "Bearer theirs"


def test_the_command_copies_to_a_server(registered: TrackingConfig, other: str) -> None:
    del registered
    command = ["promote", "champion", "--model", "students", "--to-uri"]
    done = CliRunner().invoke(app, [*command, other], catch_exceptions=False)
    assert done.output.startswith(f"{other}, students: version 1 is the champion")
    assert champion(connect(TrackingConfig(uri=other))) == "1"
    for wrong, remedy in (("http://user:secret@host:1", "VICUR_TO_PASSWORD"), ("ftp://host", "sqlite:///file")):
        refused = CliRunner().invoke(app, [*command, wrong]).exception
        assert isinstance(refused, VicurError)
        assert remedy in refused.remedy
