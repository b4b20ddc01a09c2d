"""Settings of the workflow controller of Kubeflow Pipelines, and what they mean for a run."""

from __future__ import annotations

import pytest

from tests.cluster.preflight.doubles import ON_ERROR, KubernetesDouble
from tests.cluster.preflight.test_cluster_checks import assert_finding
from vicur.cluster.connection import ClusterConnection
from vicur.cluster.preflight.check import Finding
from vicur.cluster.preflight.checks.workflow_controller import CONFIG_MAP, DEPLOYMENT, workflow_controller


def found(namespace: str = "kubeflow") -> Finding:
    return workflow_controller(ClusterConnection(), namespace)


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (
            {"workflowDefaults": ON_ERROR},
            "ok",
            "but not containers that failed: cluster.retries is done inside the step",
        ),
        ({"config": f"workflowDefaults:\n{ON_ERROR.replace(chr(10), chr(10) + '  ')}"}, "ok", "retryPolicy OnError"),
        ({"workflowDefaults": ON_ERROR.replace("OnError", "Always")}, "warning", "multiplies failed pods"),
        ({"workflowDefaults": "spec: {}"}, "ok", "lost pods and failed containers as cluster.retries says"),
        ({}, "ok", "lost pods and failed containers as cluster.retries says"),
        ({"workflowDefaults": "spec: [1]"}, "ok", "as cluster.retries says"),
    ],
)
def test_what_argo_retries_follows_from_its_defaults(
    kubernetes: KubernetesDouble, data: dict[str, str], status: str, words: str
) -> None:
    kubernetes.config_maps["kubeflow", CONFIG_MAP] = data
    assert_finding(found(), status, words)
    if status == "warning":
        assert f"Remove templateDefaults from workflowDefaults in the ConfigMap {CONFIG_MAP}" in found().remedy


def test_the_size_above_which_steps_are_not_reported_is_said(kubernetes: KubernetesDouble) -> None:
    assert_finding(found(), "ok", "above 1 MiB of a workflow's status (MAX_WORKFLOW_SIZE, the default)")
    kubernetes.deployments["kubeflow", DEPLOYMENT] = {"MAX_WORKFLOW_SIZE": "1468006"}
    assert_finding(found(), "ok", "above 1.4 MiB of a workflow's status, Kubeflow Pipelines no longer")
    kubernetes.denied = {("get", "apps", "deployments")}
    assert_finding(found(), "ok", "could not be read, HTTP 403: the default")


def test_settings_that_may_not_be_read_are_no_failure(kubernetes: KubernetesDouble) -> None:
    kubernetes.denied = {("get", "", "configmaps")}
    assert_finding(found(), "warning", "could not be read in the namespace kubeflow (HTTP 403)")
    kubernetes.denied = set()
    assert_finding(found("elsewhere"), "warning", "(HTTP 404)", "--need pipelines_namespace=NAME")
