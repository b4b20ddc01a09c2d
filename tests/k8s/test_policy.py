"""Every overlay follows the rules that no schema contains, and each rule is shown to fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.k8s.object_policy import OUTSIDE, all_problems
from tests.k8s.render import APPLIED, K8S, Manifest, installed, rendered
from tests.k8s.requests import requests_of

LARGE = "overlays/gpu-pool"
PSA = "pod-security.kubernetes.io"


@pytest.mark.parametrize("name", APPLIED)
def test_overlay_follows_the_rules(name: str) -> None:
    assert all_problems(installed(name), OUTSIDE.get(name, frozenset())) == []


@pytest.mark.parametrize("name", APPLIED)
def test_objects_that_an_overlay_takes_from_another_exist_there(name: str) -> None:
    made = {f"{m['kind']}/{m['metadata']['name']}" for m in installed(LARGE)}
    assert OUTSIDE.get(name, frozenset()) <= made


@pytest.mark.parametrize("name", [each for each in APPLIED if each.startswith("overlays/")])
def test_deleting_an_overlay_keeps_the_namespace_and_the_data(name: str) -> None:
    kept = {"Namespace", "PersistentVolumeClaim", "PersistentVolume", "Secret"}
    assert {m["kind"] for m in rendered(name)}.isdisjoint(kept)


def problems_after(kind: str, called: str, change: Callable[[Any], object]) -> list[str]:
    """Return the problems of the large overlay after ``change`` to one of its objects."""
    manifests = installed(LARGE)
    (target,) = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, called)]
    change(target)
    return all_problems(manifests)


def pod(manifest: Manifest) -> Manifest:
    return manifest["spec"]["template"]["spec"]


def container(manifest: Manifest) -> Manifest:
    return pod(manifest)["containers"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: pod(m)["securityContext"].pop("runAsNonRoot"), "runAsNonRoot is not true"),
        (lambda m: pod(m)["securityContext"].update(runAsUser=0), "not the number of a user other than root"),
        (lambda m: pod(m)["securityContext"].pop("runAsUser"), "not the number of a user other than root"),
        (lambda m: pod(m)["securityContext"].pop("seccompProfile"), "seccompProfile is not RuntimeDefault"),
        (lambda m: pod(m).update(hostNetwork=True), "hostNetwork is shared with the node"),
        (lambda m: pod(m).pop("serviceAccountName"), "default account"),
        (lambda m: pod(m).pop("automountServiceAccountToken"), "automountServiceAccountToken must be false"),
        (lambda m: pod(m)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "forbids (hostPath)"),
        (
            lambda m: m["spec"]["template"]["metadata"]["labels"].pop("app.kubernetes.io/part-of"),
            "no network policy selects it",
        ),
        (lambda m: container(m)["securityContext"].pop("allowPrivilegeEscalation"), "allowPrivilegeEscalation is not"),
        (lambda m: container(m)["securityContext"].update(readOnlyRootFilesystem=False), "readOnlyRootFilesystem is"),
        (lambda m: container(m)["securityContext"].update(privileged=True), "it is privileged"),
        (lambda m: container(m)["securityContext"].update(runAsUser=0), "overrides the pod's user with root"),
        (lambda m: container(m)["securityContext"].pop("capabilities"), "capabilities.drop has no ALL"),
        (lambda m: container(m)["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]), "adds capabilities"),
        (lambda m: container(m).update(image="mlflow/mlflow:latest"), "is not pinned"),
        (lambda m: container(m).update(image="registry:5000/mlflow"), "is not pinned"),
        (lambda m: container(m).update(image="mlflow@sha256:12"), "has an incomplete digest"),
        (lambda m: container(m)["resources"]["requests"].pop("cpu"), "it requests no cpu"),
        (lambda m: container(m)["resources"].pop("limits"), "it has no memory limit"),
        (lambda m: container(m).pop("livenessProbe"), "it has no livenessProbe"),
        (lambda m: container(m).update(env=[{"name": "DB_PASSWORD", "value": "x"}]), "DB_PASSWORD has a literal"),
        (lambda m: container(m).update(imagePullPolicy="Sometimes"), "'Sometimes' is not one of"),
        (lambda m: pod(m)["volumes"][0]["configMap"].update(name="other"), "ConfigMap/other does not exist"),
        (lambda m: container(m)["envFrom"][2]["secretRef"].update(name="other"), "Secret/other does not exist"),
        (lambda m: m["spec"]["template"]["metadata"]["labels"].update({"app.kubernetes.io/name": "x"}), "finds no pod"),
        (lambda m: container(m)["ports"][0].update(name="web"), "no pod has a port http"),
        (
            lambda m: container(m)["volumeMounts"].pop(0),
            "MLFLOW_AUTH_CONFIG_PATH is /etc/mlflow/auth.ini, which is below none",
        ),
        (lambda m: container(m)["command"].append("--cache=/srv/x"), "--cache is /srv/x, which is below none"),
        (lambda m: container(m).update(env=[{"name": "HOME", "value": "/root"}]), "HOME is /root, which is below none"),
        (lambda m: m["spec"].update(replicas=1), "lets no node be drained"),
        (lambda m: m["metadata"].pop("namespace"), "it has no namespace"),
        (lambda m: m["metadata"]["labels"].pop("app.kubernetes.io/part-of"), "selectors do not find it"),
    ],
)
def test_deployment_that_breaks_a_rule_is_reported(change: Callable[[Any], object], message: str) -> None:
    assert message in " ".join(problems_after("Deployment", "mlflow", change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["metadata"].update(name="MLflow_1"), "its name is not valid in Kubernetes"),
        (lambda m: m["spec"]["selector"]["matchLabels"].update(x="y"), "its selector does not match its own pods"),
        (lambda m: m["spec"].update(strategy={"type": "Recrate"}), "its strategy does not exist"),
        (
            lambda m: container(m)["volumeMounts"].append({"name": "x", "mountPath": "/x"}),
            "it mounts a volume that the pod does not have",
        ),
        (
            lambda m: container(m)["resources"]["requests"].update(memory="4Gi"),
            "it requests more memory than its limit",
        ),
        (lambda m: container(m)["resources"]["limits"].update(memory="3GiB"), "3GiB is not a quantity"),
        (
            lambda m: container(m)["livenessProbe"]["httpGet"].update(port="x"),
            "livenessProbe uses a port that the container does not have",
        ),
        (lambda m: container(m)["startupProbe"].update(successThreshold=2), "a successThreshold other than 1"),
        (lambda m: container(m)["command"].append("--x=$(NOWHERE)"), "a variable that is not set: NOWHERE"),
    ],
)
def test_deployment_that_the_api_server_would_reject_is_reported(change: Callable[[Any], object], message: str) -> None:
    assert message in " ".join(problems_after("Deployment", "mlflow", change))


@pytest.mark.parametrize(
    ("kind", "called", "change", "message"),
    [
        ("Job", "mlflow-migrate-3-17-2", lambda m: pod(m).update(restartPolicy="Always"), "must not be Always"),
        ("Service", "mlflow", lambda m: m["spec"]["ports"][0].update(port=70_000), "a port is not valid"),
        ("Namespace", "vicur", lambda m: m["metadata"]["labels"].update({f"{PSA}/warn-version": "1.32"}), "1.32"),
        (
            "ResourceQuota",
            "vicur",
            lambda m: m["spec"]["hard"].update({"nvidia.com/gpu": "2"}),
            "not a resource of a quota",
        ),
        (
            "LimitRange",
            "vicur",
            lambda m: m["spec"]["limits"][0]["default"].update(memory="1Mi"),
            "it requests more memory",
        ),
        (
            "ClusterQueue",
            "vicur-gpu",
            lambda m: m["spec"]["resourceGroups"][0]["coveredResources"].remove("memory"),
            "they wait forever: memory",
        ),
        (
            "PersistentVolumeClaim",
            "vicur-models",
            lambda m: m["spec"].update(accessModes=["ReadWriteOnce"]),
            "pods on several nodes mount it",
        ),
    ],
)
def test_object_that_would_be_rejected_or_never_be_admitted_is_reported(
    kind: str, called: str, change: Callable[[Any], object], message: str
) -> None:
    assert message in " ".join(problems_after(kind, called, change))


@pytest.mark.parametrize(
    ("kind", "called", "change", "message"),
    [
        ("Role", "vicur-training", lambda m: m["rules"][0].update(verbs=["*"]), "a wildcard in verbs"),
        ("Role", "vicur-training", lambda m: m["rules"][0].update(resources=["*/status"]), "a wildcard in resources"),
        ("Role", "vicur-training", lambda m: m["rules"][0]["verbs"].append("escalate"), "more than the role has"),
        ("Role", "vicur-training", lambda m: m["rules"][1]["verbs"].append("create"), "it may create pods"),
        ("Role", "vicur-training", lambda m: m["rules"][1]["resources"].append("pods/exec"), "it may execute commands"),
        ("Role", "vicur-kfp", lambda m: m["rules"][2].pop("resourceNames"), "it may read every secret"),
        ("RoleBinding", "vicur-kfp", lambda m: m["roleRef"].update(name="other"), "Role/other does not exist"),
        ("RoleBinding", "vicur-kfp", lambda m: m["subjects"][0].update(name="x"), "ServiceAccount/x does not exist"),
        ("ClusterRoleBinding", "vicur-nodes", lambda m: m["subjects"][0].update(namespace="x"), "of another namespace"),
        ("RoleBinding", "vicur-kfp", lambda m: m["subjects"][0].pop("namespace"), "of another namespace, or of none"),
        ("Service", "mlflow", lambda m: m["spec"].update(type="NodePort"), "it opens a port outside"),
        ("NetworkPolicy", "mlflow", lambda m: m["spec"]["ingress"].append({}), "allows everything"),
        ("NetworkPolicy", "mlflow", lambda m: m["spec"].update(policyTypes=["Inbound"]), "'Inbound' is not one of"),
        ("LocalQueue", "vicur", lambda m: m["spec"].update(clusterQueue="x"), "ClusterQueue/x does not exist"),
        ("ResourceFlavor", "vicur-gpu", lambda m: m["metadata"].update(name="x"), "ResourceFlavor/vicur-gpu does not"),
        (
            "Deployment",
            "cue-model",
            lambda m: container(m)["resources"]["requests"].pop("nvidia.com/gpu"),
            "of GPUs differ",
        ),
        ("Deployment", "cue-model", lambda m: m["spec"].update(replicas=2), "no disruption budget"),
        ("ResourceQuota", "vicur", lambda m: m.update(kind="LimitRange"), "the namespace has no ResourceQuota"),
        ("ConfigMap", "mlflow", lambda m: m.update(kind="Secret"), "secrets must not be in the repository"),
        (
            "Namespace",
            "vicur",
            lambda m: m["metadata"]["labels"].update({"pod-security.kubernetes.io/enforce": "baseline"}),
            "does not enforce the restricted profile",
        ),
    ],
)
def test_object_that_breaks_a_rule_is_reported(
    kind: str, called: str, change: Callable[[Any], object], message: str
) -> None:
    assert message in " ".join(problems_after(kind, called, change))


def test_queue_covers_what_queued_pods_request() -> None:
    (queue,) = [m for m in rendered(LARGE) if m["kind"] == "ClusterQueue"]
    (group,) = queue["spec"]["resourceGroups"]
    assert set(group["coveredResources"]) == {"cpu", "memory", "nvidia.com/gpu"}
    for flavor in group["flavors"]:
        assert [r["name"] for r in flavor["resources"]] == group["coveredResources"]


def test_quota_is_large_enough_for_queue_cue_model_and_a_served_student() -> None:
    manifests = rendered(LARGE)
    (queue,) = [m for m in manifests if m["kind"] == "ClusterQueue"]
    (quota,) = [m for m in manifests if m["kind"] == "ResourceQuota"]
    queued = {r["name"]: r["nominalQuota"] for r in queue["spec"]["resourceGroups"][0]["flavors"][0]["resources"]}
    assert int(quota["spec"]["hard"]["requests.nvidia.com/gpu"]) == int(queued["nvidia.com/gpu"]) + 2
    assert int(quota["spec"]["hard"]["requests.cpu"]) > int(queued["cpu"])


@pytest.mark.parametrize("name", ["overlays/dev", "overlays/gpu-pool"])
def test_mlflow_allows_each_of_its_names_with_and_without_a_port(name: str) -> None:
    manifests = rendered(name)
    (settings,) = [m["data"] for m in manifests if (m["kind"], m["metadata"]["name"]) == ("ConfigMap", "mlflow")]
    (service,) = [m["metadata"] for m in manifests if (m["kind"], m["metadata"]["name"]) == ("Service", "mlflow")]
    space = service["namespace"]
    names = [
        "mlflow",
        f"mlflow.{space}",
        f"mlflow.{space}.svc",
        f"mlflow.{space}.svc.cluster.local",
        "localhost",
        "127.0.0.1",
    ]
    allowed = settings["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert allowed == [form for each in names for form in (each, f"{each}:*")]


@pytest.mark.parametrize("name", ["overlays/dev", "overlays/gpu-pool"])
def test_endpoint_of_mlflow_is_an_existing_service(name: str) -> None:
    manifests = rendered(name)
    (endpoints,) = [m["data"] for m in manifests if m["metadata"]["name"] == "vicur-endpoints"]
    served = {
        f"http://{m['metadata']['name']}.{m['metadata']['namespace']}.svc.cluster.local:{port['port']}"
        for m in manifests
        if m["kind"] == "Service"
        for port in m["spec"]["ports"]
    }
    assert endpoints["MLFLOW_TRACKING_URI"] in served


@pytest.mark.parametrize(
    ("name", "requests"), [("overlays/dev", "0.35 CPU, 1.25 GiB"), (LARGE, "5.25 CPU, 34.5 GiB, 1 GPU")]
)
def test_page_says_what_the_services_of_an_overlay_request(name: str, requests: str) -> None:
    assert requests_of(rendered(name)) == requests
    assert requests in (K8S.parent / "docs" / "kubernetes.md").read_text(encoding="utf-8")
