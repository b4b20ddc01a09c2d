"""The exit step reports how a run ended and what it used, and never fails."""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api_server_double import ALWAYS, ApiServerDouble, Fault
from tests.cluster.run_objects import EARLIER, TRAIN, RecordedWorkflow, kfp_run, pod
from tests.cluster.webhook_double import Webhook
from vicur.cluster.jobs.names import PART_OF, RUN
from vicur.cluster.kfp_run import ENDPOINT
from vicur.cluster.usage import GPU_HOURS
from vicur.cluster.webhook import ADDRESS
from vicur.config.tracking import TrackingConfig
from vicur.steps import exit_step
from vicur.tracking.mlflow import connect
from vicur.tracking.runs import OUTCOME_TAG, RUN_TAG, STAGE_TAG, open_tracker


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an MLflow store. Creating one takes seconds, so the tests share it and each has its own run."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(autouse=True)
def run_id(store: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of the run."""
    del place
    monkeypatch.chdir(store)
    monkeypatch.setenv("VICUR_RUN_ID", f"run-{uuid.uuid4().hex[:8]}")
    for name in ("MLFLOW_TRACKING_URI", "VICUR_EVENTS", "VICUR_LOGS"):
        monkeypatch.delenv(name, raising=False)
    return os.environ["VICUR_RUN_ID"]


@pytest.fixture
def pods(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_id: str) -> Iterator[ApiServerDouble]:
    """A double of the cluster, in which the run had one pod with four GPUs for two hours. KFP's API does not answer."""
    monkeypatch.setattr(exit_step, "in_cluster", lambda: True)
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    with ApiServerDouble().serving() as server:
        put(server, pod("train", run_id, gpus=4), pod("train", "another run", gpus=8, created="2026-01-01T09:00:00Z"))
        (tmp_path / "jobs.kubeconfig").write_text(server.kubeconfig())
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "jobs.kubeconfig"))
        yield server


def put(server: ApiServerDouble, *pods: dict[str, Any], log: str = "") -> None:
    """Add pods with a log to the cluster."""
    for each in pods:
        server.pods[each["metadata"]["name"]] = each
        server.logs[each["metadata"]["name"]] = []
        server.write(each["metadata"]["name"], *log.splitlines())


@pytest.fixture
def workflow(pods: ApiServerDouble, run_id: str) -> RecordedWorkflow:
    """The run's workflow in the cluster."""
    workflow = RecordedWorkflow()
    workflow.object["metadata"]["labels"]["pipeline/runid"] = run_id
    pods.workflows = [workflow.object]
    return workflow


def recorded() -> Any:
    """The run in MLflow."""
    client = connect(TrackingConfig())
    (experiment,) = [each for each in client.search_experiments() if each.name == "vicur"]
    where = f"tags.`{RUN_TAG}` = '{os.environ['VICUR_RUN_ID']}' and tags.`{STAGE_TAG}` = 'pipeline'"
    (run,) = client.search_runs([experiment.experiment_id], where)
    return run


@pytest.mark.usefixtures("pods")
def test_mlflow_and_webhook_get_state_gpu_hours_and_cost(webhook: Webhook, run_id: str) -> None:
    text = exit_step.run_exit_step("SUCCEEDED", None, {}, {"prices": {"nvidia.com/gpu": 2.5}})
    assert text == "The run ended: succeeded. It used 8.00 GPU-hours, 20.00 USD."
    run = recorded()
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"usage/gpu_hours": 8.0, "usage/cost_usd": 20.0}
    figures = {"usage/gpu_hours": 8.0, "usage/cost_usd": 20.0}
    assert webhook.events == [{"run_id": run_id, "state": "SUCCEEDED", "message": text, **figures}]


@pytest.mark.usefixtures("pods")
def test_gpu_hours_of_training_jobs_are_counted(run_id: str) -> None:
    config = TrackingConfig()
    for hours in (10.0, 2.0):  # two attempts
        with open_tracker(config, run_id, "train vicur") as tracker:
            tracker.metrics({GPU_HOURS: hours})
    with open_tracker(config, f"{run_id}-other", "train vicur") as tracker:
        tracker.metrics({GPU_HOURS: 100.0})
    text = exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert "It used 20.00 GPU-hours (cluster.prices has no price" in text


def test_outside_a_cluster_there_are_no_gpu_hours_and_no_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert exit_step.run_exit_step("FAILED", "train failed", {}, {}) == "The run ended: failed. train failed"
    assert recorded().info.status == "FAILED"
    assert recorded().data.metrics == {}


def test_a_webhook_that_refuses_is_reported_without_its_address(webhook: Webhook) -> None:
    webhook.status = 500
    text = exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert "The webhook could not be called: the webhook did not accept the outcome: HTTP 500." in text
    assert "hush" not in text
    assert recorded().info.status == "FINISHED"


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("CANCELED", "KILLED"),
        ("CACHED", "FINISHED"),
        ("COMPLETE", "FINISHED"),
        ("FAILED", "FAILED"),
        ("RUNNING", "FAILED"),
    ],
)
def test_every_state_of_the_platform_has_a_status(state: str, status: str) -> None:
    exit_step.run_exit_step(state, None, {}, {})
    assert recorded().info.status == status


@pytest.mark.parametrize("address", ["http://[::1", "ftp://host/hush"])
def test_an_invalid_address_of_the_webhook_is_reported(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv(ADDRESS, address)
    text = exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert f"{ADDRESS} is not a web address." in text
    assert "hush" not in text


def test_a_line_break_at_the_end_of_the_webhooks_secret_is_ignored(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADDRESS, f"{webhook.address}\n")
    exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert webhook.paths == ["/hook?token=hush"]


def test_a_redirect_of_the_webhook_is_not_followed(webhook: Webhook) -> None:
    webhook.status = HTTPStatus.FOUND
    assert "did not accept the outcome: HTTP 302" in exit_step.run_exit_step("SUCCEEDED", None, {}, {})


def test_a_webhook_whose_answer_never_ends_is_given_up(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    webhook.drips = True
    monkeypatch.setattr("vicur.cluster.webhook._SECONDS", 1)
    assert "did not accept the outcome: no answer in 1 s" in exit_step.run_exit_step("SUCCEEDED", None, {}, {})


def test_secrets_in_the_message_of_a_failure_are_redacted(webhook: Webhook) -> None:
    text = exit_step.run_exit_step("FAILED", "GET https://ann:hush@host/x?token=hush refused", {}, {})
    assert "GET https://***@host/x?token=*** refused" in text
    assert "hush" not in text + json.dumps(webhook.events)


@pytest.mark.usefixtures("pods")
def test_an_unexpected_error_does_not_keep_the_outcome_from_being_reported(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(*_: object) -> None:
        raise TypeError("a pod without a spec")

    monkeypatch.setattr(exit_step, "usage_of", surprise)
    text = exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert "The GPU-hours could not be computed (TypeError; see the log of this step)." in text
    assert recorded().info.status == "FINISHED"
    assert [each["state"] for each in webhook.events] == ["SUCCEEDED"]


def test_an_unreachable_webhook_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS, "http://127.0.0.1:9/hook?token=hush")
    text = exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert "The webhook could not be called" in text
    assert "hush" not in text


def test_missing_rights_to_list_pods_are_reported_and_the_outcome_recorded(pods: ApiServerDouble) -> None:
    pods.faults.append(Fault("list", "pods", 403))
    text = exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert text.startswith("The run ended: succeeded. The pods of the run are unknown: cluster: the cluster denied")
    assert "Bind the Roles in k8s/base/access" in text
    assert recorded().info.status == "FINISHED"


RUNNING = "RUNNING"  # what KFP says of a graph that it has lost track of


def test_a_run_of_cached_steps_is_recorded_as_a_success(workflow: RecordedWorkflow, webhook: Webhook) -> None:
    workflow.cache()
    text = exit_step.run_exit_step(RUNNING, None, {}, {})
    assert text.startswith(
        f"The run ended: succeeded. Nothing changed since run {EARLIER}: every step came from the cache. It used 8.00 GPU"
    )
    run = recorded()
    assert run.info.status == "FINISHED"
    assert run.data.tags[OUTCOME_TAG] == text
    assert webhook.events[0]["state"] == "SUCCEEDED"


def test_a_step_out_of_memory_is_recorded_with_its_limit_and_its_setting(
    pods: ApiServerDouble, workflow: RecordedWorkflow
) -> None:
    workflow.set_phase(TRAIN, "Failed", "OOMKilled (exit code 137)")
    killed = {"code": 137, "reason": "OOMKilled", "memory": "64Gi", "gpus": 4, "subject": "vicur"}
    put(
        pods,
        pod("train", os.environ["VICUR_RUN_ID"], phase="Failed", node=f"{TRAIN}.executor(0)", **killed),
        log="step 3",
    )
    text = exit_step.run_exit_step(RUNNING, None, {}, {})
    assert "failed. train vicur ran out of memory (limit: 64Gi). Raise cluster.gpu_steps.memory" in text
    assert recorded().info.status == "FAILED"
    assert recorded().data.tags[OUTCOME_TAG] == text


def test_the_last_error_of_the_failed_step_is_recorded(pods: ApiServerDouble, workflow: RecordedWorkflow) -> None:
    workflow.set_phase(TRAIN, "Failed", "Error (exit code 2)")
    failed = pod(
        "train", os.environ["VICUR_RUN_ID"], phase="Failed", node=f"{TRAIN}.executor(0)", code=2, subject="opsd"
    )
    put(pods, failed, log="step 1\nError: https://ann:hush@host refused.\nI1130 09:08:31.2 1 main.go:1] failed")
    text = exit_step.run_exit_step(RUNNING, None, {}, {})
    assert "train opsd failed with exit status 2. Its last error: https://***@host refused." in text


def test_a_failure_whose_pod_is_gone_is_named_by_the_workflow(workflow: RecordedWorkflow) -> None:
    workflow.set_phase(TRAIN, "Error", "pod deleted")
    assert "The run ended: failed. train failed (pod deleted)." in exit_step.run_exit_step(RUNNING, None, {}, {})


def test_a_terminated_run_is_recorded_as_killed_and_so_are_its_stages(workflow: RecordedWorkflow, run_id: str) -> None:
    stage = open_tracker(TrackingConfig(), run_id, "train vicur")
    workflow.terminate()
    assert exit_step.run_exit_step(RUNNING, None, {}, {}).startswith("The run ended: terminated.")
    assert recorded().info.status == "KILLED"
    assert stage.client is not None
    assert stage.client.get_run(str(stage.run_id)).info.status == "KILLED"


@pytest.fixture
def at_kfp(pods: ApiServerDouble, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """KFP's API, which answers with this run. The account may not list workflows."""
    answer: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == f"/apis/v2beta1/runs/{os.environ['VICUR_RUN_ID']}" and answer
            self.send_response(HTTPStatus.OK if known else HTTPStatus.NOT_FOUND)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            pass

    pods.faults.append(Fault("list", "workflows", 403, ALWAYS))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{server.server_port}")
    yield answer
    server.shutdown()
    server.server_close()


def test_without_the_workflow_kfps_api_decides(at_kfp: dict[str, Any]) -> None:
    at_kfp.update(kfp_run("FAILED", canceled=True))
    assert exit_step.run_exit_step(RUNNING, None, {}, {}).startswith("The run ended: terminated. It used")
    assert recorded().info.status == "KILLED"


@pytest.mark.usefixtures("at_kfp")
def test_without_workflow_and_api_the_pods_decide(pods: ApiServerDouble, run_id: str) -> None:
    put(pods, pod("register", run_id, created="2026-01-01T11:00:00Z"))
    assert exit_step.run_exit_step(RUNNING, None, {}, {}).startswith("The run ended: succeeded. It used")
    assert recorded().info.status == "FINISHED"


@pytest.mark.usefixtures("at_kfp")
def test_without_any_object_the_registration_in_mlflow_decides(run_id: str) -> None:
    with open_tracker(TrackingConfig(), run_id, "register"):
        pass
    assert exit_step.run_exit_step(RUNNING, None, {}, {}).startswith("The run ended: succeeded. It used")


@pytest.mark.usefixtures("at_kfp")
def test_a_run_without_evidence_is_unknown_and_not_a_success(webhook: Webhook) -> None:
    text = exit_step.run_exit_step(RUNNING, None, {}, {})
    assert text.startswith("The run ended: unknown. There is no evidence of a success or of a failure.")
    assert "The workflow of the run is unknown: cluster: the cluster denied the request" in text
    assert "the API of Kubeflow Pipelines did not describe the run (HTTP 404)" in text
    assert recorded().info.status == "FAILED"
    assert webhook.events[0]["state"] == "UNKNOWN"


def test_training_jobs_that_the_run_left_behind_are_removed(pods: ApiServerDouble, run_id: str) -> None:
    for name, run in {"left": run_id, "other": "run-2"}.items():
        pods.put({"metadata": {"name": name, "labels": {PART_OF: "vicur", RUN: run}}, "spec": {}})
    exit_step.run_exit_step("CANCELLED", None, {}, {})
    pods.until(lambda: list(pods.jobs) == ["other"])


def test_missing_rights_to_remove_jobs_are_reported(pods: ApiServerDouble) -> None:
    pods.faults.append(Fault("list", "trainjobs", 403))
    text = exit_step.run_exit_step("SUCCEEDED", None, {}, {})
    assert "Training jobs of the run could not be removed: cluster: the cluster denied the request" in text
    assert recorded().info.status == "FINISHED"
