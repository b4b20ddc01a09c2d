"""Packages and jobs pass MLflow's settings under names of ours, beside those that KFP's MLflow plugin may have set."""

from __future__ import annotations

import os

import pytest

from vicur.tracking.injected import NAMES, PLUGIN, for_other_pods, use_injected_mlflow

OURS = {
    "VICUR_MLFLOW_URI": "http://mlflow:5000",
    "VICUR_MLFLOW_USERNAME": "vicur",
    "VICUR_MLFLOW_PASSWORD": "hush\n",
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, *NAMES.values()):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def mlflow_settings() -> dict[str, str]:
    return {name: os.environ[name] for name in NAMES.values() if name in os.environ}


def use(monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, str]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    use_injected_mlflow()
    return mlflow_settings()


def test_our_variables_become_those_of_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    assert use(monkeypatch, **OURS) == {
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MLFLOW_TRACKING_USERNAME": "vicur",
        "MLFLOW_TRACKING_PASSWORD": "hush",
    }


def test_a_run_that_the_platform_started_is_used_with_the_platforms_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = {
        "MLFLOW_RUN_ID": "abc",
        "MLFLOW_TRACKING_URI": "http://platform:5000",
        "MLFLOW_TRACKING_USERNAME": "kfp",
        "MLFLOW_TRACKING_PASSWORD": "other",
    }
    assert use(monkeypatch, **OURS, **plugin) == plugin


def test_credentials_of_ours_complete_a_platform_that_sets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found = use(monkeypatch, **OURS, MLFLOW_RUN_ID="abc", MLFLOW_TRACKING_URI="http://platform:5000")
    assert found["MLFLOW_TRACKING_URI"] == "http://platform:5000"
    assert found["MLFLOW_TRACKING_USERNAME"] == "vicur"


def test_an_older_package_that_sets_mlflows_own_names_works(monkeypatch: pytest.MonkeyPatch) -> None:
    assert use(monkeypatch, MLFLOW_TRACKING_URI="http://old:5000") == {"MLFLOW_TRACKING_URI": "http://old:5000"}


def test_a_jobs_pods_join_the_run_of_their_step(monkeypatch: pytest.MonkeyPatch) -> None:
    step = {"MLFLOW_RUN_ID": "abc", "MLFLOW_TRACKING_URI": "http://platform", "MLFLOW_WORKSPACE": "w", "HOME": "/"}
    passed = for_other_pods(step)
    assert not passed.keys() & set(PLUGIN)
    # The job's runtime has the ConfigMap of endpoints in its environment, too.
    found = use(monkeypatch, **passed, MLFLOW_TRACKING_URI="http://endpoints")
    assert found == {name: value for name, value in step.items() if name != "HOME"}


def test_a_job_gets_no_credentials() -> None:
    assert for_other_pods({"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "hush"}) == {}
