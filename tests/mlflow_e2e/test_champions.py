"""Registration, gate, promotion, rollback and serving, by a user who is not an administrator."""

from __future__ import annotations

from pathlib import Path

import mlflow.pyfunc
import pytest
from mlflow import MlflowClient

from tests.mlflow_e2e.faulty_proxy import FaultyProxy
from tests.registry.conftest import Make
from tests.registry.factory import BETTER, GOOD, WORSE, champion, run_register
from vicur.config.registry import RegistryConfig
from vicur.config.tracking import TrackingConfig
from vicur.data import read_examples
from vicur.registry import promote, rollback
from vicur.registry.checkpoints import fetch
from vicur.tracking.mlflow import as_default


def test_students_compete_and_a_user_can_go_back(
    students: Make, registry: RegistryConfig, tracking: TrackingConfig, client: MlflowClient
) -> None:
    name = registry.model
    first = run_register(students(GOOD), config=registry, tracking=tracking, run_id="first")
    assert (first.version, first.gate.passed, first.aliases) == ("1", True, ["candidate", "champion"])
    worse = run_register(students(WORSE), config=registry, tracking=tracking, run_id="worse")
    assert (worse.version, worse.gate.passed) == ("2", False)
    assert champion(client, name) == "1"
    better = run_register(students(BETTER), config=registry, tracking=tracking, run_id="better")
    assert (better.version, better.gate.passed) == ("3", True)
    assert champion(client, name) == "3"
    assert rollback(client, name, reason="a test").champion == "1"
    assert champion(client, name) == "1"
    assert promote(client, name, "3", force=True, reason="a test").before == "1"
    assert champion(client, name) == "3"


def test_the_champion_answers_as_it_did_where_it_was_trained(
    students: Make,
    registry: RegistryConfig,
    tracking: TrackingConfig,
    client: MlflowClient,
    data: dict[str, Path],
    proxy: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    inputs = students(GOOD)
    run_register(inputs, config=registry, tracking=tracking)
    fetched = fetch(client, f"models:/{registry.model}@champion", tmp_path / "served").folder
    for file in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (fetched / file).read_bytes() == (inputs["student"] / file).read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
    questions = [
        {"question": example.question, "image": example.images[0]}
        for example in read_examples(data["dataset"], "test")[:3]
    ]
    with as_default(client):
        served = mlflow.pyfunc.load_model(f"models:/{registry.model}@champion")
        local = mlflow.pyfunc.load_model(
            str(mlflow.artifacts.download_artifacts(f"models:/{registry.model}/1", dst_path=str(tmp_path / "local")))
        )
    answers = served.predict(questions, params={"max_new_tokens": 6})["response"].tolist()
    assert answers == local.predict(questions, params={"max_new_tokens": 6})["response"].tolist()
    assert len(answers) == 3
