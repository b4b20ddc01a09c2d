"""The exit step tells how a run ended and what it used, and fails for nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api_server_double import ApiServerDouble, Fault
from vicur.cluster.jobs.names import PART_OF, RUN
from vicur.cluster.usage import GPU_HOURS
from vicur.cluster.webhook import ADDRESS
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.steps import exit_step
from vicur.tracking.mlflow import connect
from vicur.tracking.runs import RUN_TAG, STAGE_TAG, open_tracker

POD: dict[str, Any] = {
    "spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "4"}}}]},
    "status": {
        "containerStatuses": [
            {"state": {"terminated": {"startedAt": "2026-01-01T08:00:00Z", "finishedAt": "2026-01-01T10:00:00Z"}}}
        ]
    },
}


@dataclass
class Webhook:
    """A server that takes what is posted to it, and answers with ``status``; one that drips goes on answering."""

    address: str = ""
    status: int = 200
    drips: bool = False
    taken: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.paths.append(self.path)
            hook.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(hook.status)
            if hook.status == HTTPStatus.FOUND:
                self.send_header("Location", f"http://127.0.0.1:{self.server.server_address[1]}/elsewhere")
            self.end_headers()
            while hook.drips:
                self.wfile.write(b".")
                time.sleep(0.05)

        def do_GET(self) -> None:
            self.send_response(HTTPStatus.OK)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hook.address = f"http://127.0.0.1:{server.server_port}/hook?token=hush"
    monkeypatch.setenv(ADDRESS, hook.address)
    yield hook
    hook.drips = False
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VICUR_RUN_ID", "run-1")
    for name in ("MLFLOW_TRACKING_URI", "VICUR_EVENTS", "VICUR_LOGS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def pods(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ApiServerDouble]:
    """A stand-in for the cluster, which cannot be had here: the run had one pod with four GPUs for two hours."""
    monkeypatch.setattr(exit_step, "in_cluster", lambda: True)
    monkeypatch.setattr(exit_step, "pods_of_run", lambda run_id: [POD] if run_id == "run-1" else [])
    with ApiServerDouble().serving() as server:
        (tmp_path / "jobs.kubeconfig").write_text(server.kubeconfig())
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "jobs.kubeconfig"))
        yield server


def tracked() -> Any:
    client = connect(TrackingConfig())
    (experiment,) = [each for each in client.search_experiments() if each.name == "vicur"]
    where = f"tags.`{RUN_TAG}` = 'run-1' and tags.`{STAGE_TAG}` = 'pipeline'"
    (run,) = client.search_runs([experiment.experiment_id], where)
    return run


@pytest.mark.usefixtures("pods")
def test_mlflow_and_webhook_learn_state_gpu_hours_and_cost(webhook: Webhook) -> None:
    words = exit_step.run_exit_step("SUCCEEDED", None, {}, {"prices": {"nvidia.com/gpu": 2.5}})
    assert words == "The run ended: succeeded. It used 8.00 GPU-hours, 20.00 USD."
    run = tracked()
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"usage/gpu_hours": 8.0, "usage/cost_usd": 20.0}
    figures = {"usage/gpu_hours": 8.0, "usage/cost_usd": 20.0}
    assert webhook.taken == [{"run_id": "run-1", "state": "SUCCEEDED", "message": None, **figures}]


@pytest.mark.usefixtures("pods")
def test_what_the_jobs_of_trainings_used_is_counted_too() -> None:
    config = TrackingConfig()
    for hours in (10.0, 2.0):  # two attempts
        with open_tracker(config, "run-1", "train vicur") as tracker:
            tracker.metrics({GPU_HOURS: hours})
    with open_tracker(config, "run-2", "train vicur") as tracker:
        tracker.metrics({GPU_HOURS: 100.0})
    words = exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert "It used 20.00 GPU-hours;" in words


def test_on_a_laptop_there_is_nothing_to_count_and_nobody_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert exit_step.run_exit_step("FAILED", "train failed", {}, {}) == "The run ended: failed. train failed"
    assert tracked().info.status == "FAILED"
    assert tracked().data.metrics == {}


def test_a_webhook_that_refuses_fails_nothing_and_its_address_stays_secret(webhook: Webhook) -> None:
    webhook.status = 500
    words = exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert "The webhook could not be told: the webhook did not take the outcome (HTTP 500)." in words
    assert "hush" not in words
    assert tracked().info.status == "FINISHED"


@pytest.mark.parametrize(("state", "status"), [("CANCELED", "KILLED"), ("CACHED", "FINISHED"), ("UNKNOWN", "FAILED")])
def test_every_word_for_an_end_is_known(state: str, status: str) -> None:
    exit_step.run_exit_step(state, None, {}, {})
    assert tracked().info.status == status


@pytest.mark.parametrize("address", ["http://[::1", "ftp://host/hush"])
def test_an_address_that_is_none_fails_nothing(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv(ADDRESS, address)
    words = exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert f"{ADDRESS} is no web address." in words
    assert "hush" not in words


def test_a_line_break_at_the_end_of_a_webhooks_secret_is_none_of_it(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADDRESS, f"{webhook.address}\n")
    exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert webhook.paths == ["/hook?token=hush"]


def test_a_webhook_that_leads_elsewhere_has_not_taken_it(webhook: Webhook) -> None:
    webhook.status = HTTPStatus.FOUND
    assert "did not take the outcome (HTTP 302)" in exit_step.run_exit_step("SUCCEEDED", None, {}, {})


def test_a_webhook_that_never_comes_to_an_end_holds_nothing(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    webhook.drips = True
    monkeypatch.setattr("vicur.cluster.webhook._SECONDS", 1)
    assert "did not take the outcome (no answer in 1 s)" in exit_step.run_exit_step("SUCCEEDED", None, {}, {})


def test_a_failures_message_keeps_its_secrets(webhook: Webhook) -> None:
    words = exit_step.run_exit_step("FAILED", "GET https://ann:hush@host/x?token=hush refused", {}, {})
    assert "GET https://***@host/x?token=*** refused" in words
    assert "hush" not in words + json.dumps(webhook.taken)


def test_what_nobody_foresaw_keeps_nobody_from_being_told(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    def surprise(*_: object) -> None:
        raise TypeError("a pod without a spec")

    monkeypatch.setattr(exit_step, "_usage", surprise)
    words = exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert "Its GPU-hours could not be counted (TypeError: the step's log has more)." in words
    assert tracked().info.status == "FINISHED"
    assert [each["state"] for each in webhook.taken] == ["SUCCEEDED"]


def test_a_webhook_that_is_not_there_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS, "http://127.0.0.1:9/hook?token=hush")
    words = exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert "The webhook could not be told" in words
    assert "hush" not in words


@pytest.mark.usefixtures("pods")
def test_an_api_that_refuses_is_told_and_the_outcome_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise VicurError("the run's pods cannot be listed (Forbidden).", remedy="Give the steps a Role.")

    monkeypatch.setattr(exit_step, "pods_of_run", refuse)
    words = exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert "Its GPU-hours could not be counted: the run's pods cannot be listed (Forbidden)." in words
    assert tracked().info.status == "FINISHED"


def test_training_jobs_that_the_run_has_left_are_removed(pods: ApiServerDouble) -> None:
    for name, run in {"left": "run-1", "other": "run-2"}.items():
        pods.put({"metadata": {"name": name, "labels": {PART_OF: "vicur", RUN: run}}, "spec": {}})
    exit_step.run_exit_step("CANCELLED", None, {}, {})
    pods.until(lambda: list(pods.jobs) == ["other"])


def test_rights_that_are_missing_are_told(pods: ApiServerDouble) -> None:
    pods.faults.append(Fault("list", "trainjobs", 403))
    words = exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert "What its trainings left could not be removed: cluster: the cluster denied the request" in words
    assert tracked().info.status == "FINISHED"
