"""The audit of a registered model, on a real registration that is then tampered with in the ways that MLflow allows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.cli.calling import caller
from tests.registry.conftest import Make
from tests.registry.factory import BETTER, GOOD, WORSE, run_register
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.registry import promote, rollback
from vicur.registry.audit import audit
from vicur.tracking.mlflow import as_default, connect


@pytest.fixture
def client(registered: TrackingConfig) -> MlflowClient:
    return connect(registered)


def found(client: MlflowClient, name: str = "students") -> list[str]:
    with as_default(client):
        return [str(each) for each in audit(client, name)]


def file(pattern: str) -> Path:
    (path,) = Path("mlflow/artifacts").glob(f"**/{pattern}")
    return path


def edit_figures(client: MlflowClient) -> None:
    del client
    verdict = json.loads(file("verdict.json").read_text())
    verdict["inputs"]["accuracy"] = 0.99
    file("verdict.json").write_text(json.dumps(verdict))


def edit_verdict(client: MlflowClient) -> None:
    del client
    verdict = json.loads(file("verdict.json").read_text())
    verdict["inputs"]["leaking"] = 100
    file("verdict.json").write_text(json.dumps(verdict))


TAMPERED: dict[str, tuple[Callable[[MlflowClient], object], list[str]]] = {
    "tag": (
        lambda client: client.set_model_version_tag("students", "1", "vicur.accuracy", "99 %"),
        ["version 1: its tag vicur.accuracy was edited"],
    ),
    "dataset": (
        lambda client: client.set_model_version_tag("students", "1", "vicur.dataset", "0" * 32),
        ["version 1: its tag vicur.dataset was edited"],
    ),
    "figures": (
        edit_figures,
        ["does not follow", "vicur.accuracy was edited", "other figures than its stored evaluation: accuracy 0.99"],
    ),
    "verdict": (
        edit_verdict,
        ["champion: points to version 1, which did not pass", "not follow", "hint 100, stored 0"],
    ),
    "damaged": (
        lambda _: file("verdict.json").write_text("{"),
        ["champion: points to version 1, which has not", "verdict.json is damaged"],
    ),
    "weights": (
        lambda _: file("model.safetensors").unlink(),
        ["version 1: its files are missing: there are no weights"],
    ),
    "MLmodel": (lambda _: file("MLmodel").unlink(), ["there is no MLmodel"]),
    "evaluation": (lambda _: file("evaluation/metrics.json").unlink(), ["version 1: its evaluation is missing"]),
    "champion": (
        lambda client: client.delete_registered_model_alias("students", "champion"),
        ["alias champion: points to no version, although version 1 became the champion last; it still exists"],
    ),
    "move": (
        lambda client: [
            client.set_registered_model_tag("students", key, "{}")
            for key in client.get_registered_model("students").tags
            if key.startswith("vicur.move")
        ],
        ["is not a readable record of a move", "alias champion: points to version 1, but no move is recorded"],
    ),
    "previous": (
        lambda client: client.set_registered_model_alias("students", "previous", "1"),
        ["alias previous: points to version 1, but by the recorded moves it should point to no version"],
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_changed_by_hand_is_found(what: str, client: MlflowClient) -> None:
    change, expected = TAMPERED[what]
    change(client)
    problems = found(client)
    assert len(problems) == len(expected), problems
    for problem, part in zip(problems, expected, strict=True):
        assert part in problem


def test_versions_that_went_through_the_gate_and_its_commands_have_no_findings(
    students: Make, client: MlflowClient, registered: TrackingConfig
) -> None:
    assert found(client) == []
    run_register(students(BETTER), tracking=registered, run_id="run-2")
    run_register(students(WORSE), tracking=registered, run_id="run-3")
    promote(client, "students", "3", reason="a demonstration", force=True)
    assert found(client) == []
    rollback(client, "students", reason="enough")
    promote(client, "students", "champion", to="production")
    assert found(client) == found(client, "production") == []

    client.set_registered_model_alias("students", "champion", "3")
    client.set_registered_model_alias("students", "demo", "3")
    problems = found(client)
    assert (
        "champion: points to version 3, but the last recorded move is that of version 2: it was set by hand"
        in problems[0]
    )
    assert "demo: points to version 3, which did not pass the gate" in problems[-1]
    client.delete_model_version("students", "3")
    assert "no version, although version 2 became the champion last; it still exists" in found(client)[0]


def test_the_command_exits_with_status_1_if_anything_is_found(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    vicur = caller(monkeypatch, capfd)
    done = vicur("registry", "audit", "--model", "students")
    assert (done.code, done.output) == (0, "students: no findings.\n")
    version = client.create_model_version("students", f"{client.create_run('0').info.artifact_uri}/nothing").version
    client.set_registered_model_alias("students", "champion", str(version))
    done = vicur("registry", "audit", "--model", "students", "--json")
    assert done.code == 1
    assert [each["where"] for each in json.loads(done.output)] == ["alias champion"] * 2
    assert "has not been through the gate" in json.loads(done.output)[1]["problem"]
    assert vicur("registry", "audit", "--model", "unknown").code == 2


def test_an_unknown_model_is_refused(client: MlflowClient) -> None:
    with pytest.raises(VicurError, match="does not exist"):
        audit(client, "unknown")


def test_a_copy_keeps_the_verdict_that_it_was_made_with(
    students: Make, client: MlflowClient, registered: TrackingConfig
) -> None:
    promote(client, "students", "champion", to="production")
    # Its verdict is now that it is the champion already. The copy shares the file, but not the tags.
    for run_id in ("run-2", "run-3"):
        run_register(students(GOOD), tracking=registered, run_id=run_id)
    assert found(client) == found(client, "production") == []
    client.set_model_version_tag("production", "1", "vicur.verdict", "passed\nIt is the best.")
    (problem,) = found(client, "production")
    assert "vicur.verdict was edited" in problem
    client.set_model_version_tag("students", "1", "vicur.verdict", "passed\nIt is the best.")
    assert "vicur.verdict was edited" in found(client)[0]
