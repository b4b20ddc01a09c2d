"""The context of a step's jobs: image and owner come from its own pod, the namespace from its service account."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cluster.api_server_double import ApiServerDouble
from tests.cluster.launching import OWNER
from vicur.cluster.jobs import client, context
from vicur.cluster.jobs.client import Location
from vicur.cluster.jobs.context import JobContext
from vicur.cluster.jobs.names import PART_OF, RUN
from vicur.commands.cluster import app
from vicur.errors import VicurError


@pytest.fixture
def server(tmp_path, monkeypatch):
    with ApiServerDouble().serving() as server:
        (tmp_path / "kubeconfig").write_text(server.kubeconfig())
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        yield server


@pytest.fixture
def in_step(server, monkeypatch) -> dict[str, Any]:
    """Let this process be the step's pod. Returns the pod's object, which may be changed."""
    pod = {
        "metadata": {"name": "step", "uid": "uid-step", "ownerReferences": [{**OWNER, "controller": True}]},
        "spec": {"containers": [{"name": "wait", "image": "argo"}, {"name": "main", "image": "vicur-python:7"}]},
        "status": {},
    }
    server.pods["step"] = pod
    api_client, _ = client.connect()
    monkeypatch.setattr(context, "connect", lambda: (api_client, Location("vicur", "step")))
    return pod


@pytest.mark.usefixtures("in_step")
def test_jobs_get_the_steps_image_and_are_owned_by_its_workflow():
    job_context = JobContext.of_this_process("")
    assert (job_context.api.namespace, job_context.image, job_context.owner) == ("vicur", "vicur-python:7", OWNER)


def test_pod_without_a_workflow_is_the_owner(in_step):
    del in_step["metadata"]["ownerReferences"]
    owner = JobContext.of_this_process("").owner
    assert owner == {"apiVersion": "v1", "kind": "Pod", "name": "step", "uid": "uid-step"}


@pytest.mark.usefixtures("server")
def test_image_is_required_outside_a_cluster():
    with pytest.raises(VicurError, match=r"cluster\.image"):
        JobContext.of_this_process("")
    assert JobContext.of_this_process("x").owner is None


def test_missing_kubeconfig_is_reported(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(VicurError, match="no cluster is configured"):
        JobContext.of_this_process("")


def test_pod_name_of_kubeflow_pipelines_takes_precedence_over_the_host_name():
    assert client.own_pod({"KFP_POD_NAME": "long-name", "HOSTNAME": "long"}) == "long-name"
    assert client.own_pod({"HOSTNAME": "short"}) == "short"


def test_reap_command_deletes_the_jobs_of_a_run(server):
    server.put({"metadata": {"name": "left", "labels": {PART_OF: "vicur", RUN: "run-1"}}, "spec": {}})
    result = CliRunner().invoke(app, ["reap", "--run", "run-1"])
    assert result.stdout == "Removed TrainJob left\n"
    server.until(lambda: server.jobs == {})
    assert "has no training jobs left" in CliRunner().invoke(app, ["reap"], env={"VICUR_RUN_ID": "run-1"}).stdout
