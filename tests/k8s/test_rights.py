"""The Roles of the pipeline's account grant exactly the rights that the code uses."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.k8s.render import Manifest, rendered
from tests.k8s.verbs import Right, used_rights
from vicur.cluster.preflight.checks.trainer import FOR_SERVERS, NEEDED

CLUSTER = Path(__file__).parents[2] / "vicur" / "cluster"
OF_KFP = "vicur-kfp"
"""Role with the rights of KFP's containers, which our code does not use."""


def granted(name: str) -> set[Right]:
    """Return the rights of ``vicur-pipeline`` in an overlay, except for KFP's."""
    manifests = rendered(name)
    roles = {
        m["roleRef"]["name"]
        for m in manifests
        if m["kind"] in ("RoleBinding", "ClusterRoleBinding") and m["subjects"][0]["name"] == "vicur-pipeline"
    }
    return {
        right
        for m in manifests
        if m["kind"] in ("Role", "ClusterRole") and m["metadata"]["name"] in roles - {OF_KFP}
        for right in rights_of(m)
    }


def rights_of(role: Manifest) -> set[Right]:
    """Return the rights that a role grants."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("name", ["overlays/dev", "overlays/gpu-pool"])
def test_roles_grant_exactly_what_the_code_uses(name: str) -> None:
    assert granted(name) == used_rights(CLUSTER)


OF_THE_CLUSTER = {
    ("", "nodes", "list"),
    ("kueue.x-k8s.io", "clusterqueues", "get"),
    ("", "configmaps", "get"),
    ("apps", "deployments", "get"),
}
"""Rights outside the run's namespace, which profiles do not get."""


def test_profile_has_the_same_rights_except_for_those_outside_its_namespace() -> None:
    assert granted("overlays/multi-user") == used_rights(CLUSTER) - OF_THE_CLUSTER


def test_preflight_checks_the_rights_of_the_training_role() -> None:
    (role,) = [m for m in rendered("overlays/dev") if (m["kind"], m["metadata"]["name"]) == ("Role", "vicur-training")]
    assert {*NEEDED, *FOR_SERVERS} == rights_of(role)


def test_no_other_account_is_granted_anything() -> None:
    for name in ("overlays/dev", "overlays/gpu-pool", "overlays/multi-user"):
        bindings = [m for m in rendered(name) if m["kind"] in ("RoleBinding", "ClusterRoleBinding")]
        assert {s["name"] for b in bindings for s in b["subjects"]} == {"vicur-pipeline"}


def test_rights_are_read_off_the_calls(tmp_path: Path) -> None:
    (tmp_path / "names.py").write_text('PLURAL = "trainjobs"\n')
    (tmp_path / "calls.py").write_text(
        textwrap.dedent("""
        from kubernetes.client import CoreV1Api, CustomObjectsApi, AuthorizationV1Api
        from kubernetes.watch import Watch
        from names import PLURAL

        def work(core: CoreV1Api, custom: CustomObjectsApi, auth: AuthorizationV1Api):
            core.read_namespaced_pod_log("x", "y")
            core.list_namespaced_pod("y")
            core.delete_namespaced_secret("x", "y")
            core.list_node()
            auth.create_self_subject_access_review({})
            Watch().stream(custom.list_namespaced_custom_object, plural=PLURAL)
            custom.patch_namespaced_custom_object(plural=PLURAL)
        """)
    )
    assert used_rights(tmp_path) == {
        ("", "pods/log", "get"),
        ("", "pods", "list"),
        ("", "secrets", "delete"),
        ("", "nodes", "list"),
        ("trainer.kubeflow.org", "trainjobs", "watch"),
        ("trainer.kubeflow.org", "trainjobs", "patch"),
    }


def test_a_custom_resource_that_nobody_knows_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "calls.py").write_text(
        "from kubernetes.client import CustomObjectsApi\nCustomObjectsApi().list_cluster_custom_object('g', 'v', 'x')\n"
    )
    with pytest.raises(AssertionError, match="not in PLURALS"):
        used_rights(tmp_path)
