"""Where a step finds itself: its image and its workflow from its own pod, its rights from where the client looks."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cluster.api_server_double import ApiServerDouble
from tests.cluster.launching import OWNER
from vicur.cluster.jobs import client, context
from vicur.cluster.jobs.client import Place
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
    """This process is the step's pod, as far as it is told; the pod's record may be changed."""
    pod = {
        "metadata": {"name": "step", "uid": "uid-step", "ownerReferences": [{**OWNER, "controller": True}]},
        "spec": {"containers": [{"name": "wait", "image": "argo"}, {"name": "main", "image": "vicur-python:7"}]},
        "status": {},
    }
    server.pods["step"] = pod
    made, _ = client.connect()
    monkeypatch.setattr(context, "connect", lambda: (made, Place("vicur", "step")))
    return pod


@pytest.mark.usefixtures("in_step")
def test_a_step_makes_jobs_with_its_own_image_that_go_with_its_workflow():
    found = JobContext.of("")
    assert (found.api.namespace, found.image, found.owner) == ("vicur", "vicur-python:7", OWNER)


def test_a_pod_without_a_workflow_is_the_owner_itself(in_step):
    del in_step["metadata"]["ownerReferences"]
    owner = JobContext.of("").owner
    assert owner == {"apiVersion": "v1", "kind": "Pod", "name": "step", "uid": "uid-step"}


@pytest.mark.usefixtures("server")
def test_outside_a_cluster_the_image_must_be_named():
    with pytest.raises(VicurError, match=r"cluster\.image"):
        JobContext.of("")
    assert JobContext.of("x").owner is None


def test_without_a_cluster_the_remedy_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(VicurError, match="no cluster is named"):
        JobContext.of("")


def test_the_name_of_its_pod_is_the_platforms_word_before_the_hosts():
    assert client.own_pod({"KFP_POD_NAME": "long-name", "HOSTNAME": "long"}) == "long-name"
    assert client.own_pod({"HOSTNAME": "short"}) == "short"


def test_the_command_reaps_a_run(server):
    server.put({"metadata": {"name": "left", "labels": {PART_OF: "vicur", RUN: "run-1"}}, "spec": {}})
    said = CliRunner().invoke(app, ["reap", "--run", "run-1"])
    assert said.stdout == "Removed TrainJob left\n"
    server.until(lambda: server.jobs == {})
    assert "has no training jobs left" in CliRunner().invoke(app, ["reap"], env={"VICUR_RUN_ID": "run-1"}).stdout
