"""Connections that each overlay allows and denies."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from tests.k8s.reach import Peer, pod, reaches
from tests.k8s.render import Manifest, pod_templates, rendered, with_component
from vicur.stage.table import DIVIDED, STAGES
from vicur.stage.table import STEPS as STEP_TABLE

DNS = pod("kube-system", {"k8s-app": "kube-dns"})
KFP = pod("kubeflow", {"app": "ml-pipeline"})
TRAINER = pod(
    "kubeflow-system",
    {
        "app.kubernetes.io/name": "trainer",
        "app.kubernetes.io/component": "manager",
        "app.kubernetes.io/part-of": "kubeflow",
    },
)
SEAWEEDFS = pod("kubeflow", {"app": "seaweedfs"})
INTERNET = Peer(address="203.0.113.7")
NODE_METADATA = Peer(address="169.254.169.254")
STEPS = ("preflight", *STAGES, "outcome")
PORTION_STEPS = tuple(f"{stage}-{kind}" for stage in DIVIDED for kind in ("plan", "portion"))
SPACES = {"overlays/dev": "kubeflow", "overlays/gpu-pool": "vicur", "overlays/multi-user": "team-a"}


SERVED = ("overlays/serving", "overlays/kserve")


@functools.cache
def policies(name: str) -> list[Manifest]:
    """Return the policies in effect with an overlay. A profile and a served student are applied on top of the GPU pool."""
    names = ["overlays/gpu-pool", name] if name in ("overlays/multi-user", *SERVED) else [name]
    return [m for each in names for m in rendered(each) if m["kind"] == "NetworkPolicy"]


def step(name: str, task: str) -> Peer:
    labels = {"app.kubernetes.io/part-of": "vicur", "vicur.dev/task": task}
    return pod(SPACES[name], {**labels, "pipelines.kubeflow.org/v2_component": "true"})


@functools.cache
def trainer(name: str) -> Peer:
    """Return a training node. It has the labels of the runtime (with Trainer 2.0, no others) and JobSet's."""
    (labels,) = [
        t["metadata"]["labels"]
        for title, t in pod_templates(rendered("overlays/gpu-pool")).items()
        if title.startswith("TrainingRuntime/")
    ]
    return pod(SPACES[name], {**labels, "jobset.sigs.k8s.io/jobset-name": "a"})


def rollout_server(name: str) -> Peer:
    """Return a server of a job, which has the labels of a node and its own."""
    own = {"vicur.dev/role": "server", "vicur.dev/task": "rollout-server"}
    return pod(SPACES[name], {**dict(trainer(name).labels), **own})


@functools.cache
def service(name: str, called: str) -> Peer:
    """Return the pod of a service. For a profile, services are in the GPU pool's namespace."""
    home = "overlays/gpu-pool" if name == "overlays/multi-user" else name
    (labels,) = [
        t["metadata"]["labels"] for title, t in pod_templates(rendered(home)).items() if title.split("/")[1] == called
    ]
    return pod(SPACES[home], labels)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("task", STEPS)
def test_step_reaches_the_services_that_every_step_needs(name: str, task: str) -> None:
    rules = policies(name)
    assert reaches(rules, step(name, task), DNS, 53, "UDP")
    assert reaches(rules, step(name, task), KFP, 8887)
    assert reaches(rules, step(name, task), service(name, "mlflow"), 5000)
    if name == "overlays/dev":
        assert reaches(rules, step(name, task), SEAWEEDFS, 8333)
    else:
        assert reaches(rules, step(name, task), INTERNET, 443)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("task", STEPS)
def test_step_reaches_nothing_else(name: str, task: str) -> None:
    rules = policies(name)
    assert not reaches(rules, step(name, task), INTERNET, 80)
    assert not reaches(rules, step(name, task), NODE_METADATA, 80)
    assert not reaches(rules, step(name, task), NODE_METADATA, 443)
    assert not reaches(rules, step(name, task), pod("payroll", {"app": "database"}), 5432)
    assert not reaches(rules, step(name, task), service(name, "mlflow-db"), 5432)
    assert not reaches(rules, step(name, task), step(name, task), 22)
    assert not reaches(rules, pod("payroll", {"app": "web"}), step(name, task), 8080)


@pytest.mark.parametrize("name", ["overlays/gpu-pool", "overlays/multi-user"])
@pytest.mark.parametrize("task", STEPS)
def test_only_steps_that_need_cues_reach_the_cue_model(name: str, task: str) -> None:
    found = reaches(policies(name), step(name, task), service(name, "cue-model"), 8000)
    assert found is (task in ("extract", "preflight"))


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("task", PORTION_STEPS)
def test_steps_of_portions_reach_what_they_read_and_nothing_else(name: str, task: str) -> None:
    rules = policies(name)
    assert reaches(rules, step(name, task), DNS, 53, "UDP")
    assert reaches(rules, step(name, task), KFP, 8887)
    assert reaches(rules, step(name, task), *((SEAWEEDFS, 8333) if name == "overlays/dev" else (INTERNET, 443)))
    assert not reaches(rules, step(name, task), service(name, "mlflow"), 5000)
    assert not reaches(rules, step(name, task), INTERNET, 80)
    assert not reaches(rules, step(name, task), NODE_METADATA, 443)
    if name != "overlays/dev":
        found = reaches(rules, step(name, task), service(name, "cue-model"), 8000)
        assert found is (task == "extract-portion")


def test_cue_model_reaches_nothing_but_dns() -> None:
    name = "overlays/gpu-pool"
    model = service(name, "cue-model")
    assert not reaches(policies(name), model, INTERNET, 443)
    assert not reaches(policies(name), model, service(name, "mlflow"), 5000)
    assert not reaches(policies(name), trainer(name), model, 8000)


def student(name: str) -> Peer:
    (template,) = pod_templates(rendered(name)).values()
    return pod("vicur", template["metadata"]["labels"])


@pytest.mark.parametrize("name", SERVED)
def test_served_student_is_reached_by_its_clients_and_reaches_only_mlflow(name: str) -> None:
    rules, served = policies(name), student(name)
    assert reaches(rules, pod("shop", {"vicur.dev/client": "student"}), served, 8000)
    assert not reaches(rules, pod("shop", {"app": "web"}), served, 8000)
    assert not reaches(rules, pod("vicur", {"app.kubernetes.io/part-of": "vicur"}), served, 8000)
    assert not reaches(rules, pod("shop", {"vicur.dev/client": "student"}), served, 22)
    assert reaches(rules, served, service("overlays/gpu-pool", "mlflow"), 5000)
    assert reaches(rules, served, DNS, 53, "UDP")
    assert not reaches(rules, served, service("overlays/gpu-pool", "cue-model"), 8000)
    assert not reaches(rules, served, service("overlays/gpu-pool", "mlflow-db"), 5432)
    assert not reaches(rules, served, INTERNET, 443)
    assert not reaches(rules, served, NODE_METADATA, 80)


@pytest.mark.parametrize("name", SPACES)
def test_training_nodes_reach_each_other_and_no_foreign_pods(name: str) -> None:
    rules = policies(name)
    assert reaches(rules, trainer(name), trainer(name), 41_234)
    assert reaches(rules, trainer(name), service(name, "mlflow"), 5000)
    assert reaches(rules, trainer(name), *((SEAWEEDFS, 8333) if name == "overlays/dev" else (INTERNET, 443)))
    assert reaches(rules, trainer(name), DNS, 53, "UDP")
    assert not reaches(rules, step(name, "train"), trainer(name), 29_500)
    assert reaches(rules, trainer(name), TRAINER, 10_443)
    assert not reaches(rules, trainer(name), TRAINER, 443)
    assert not reaches(rules, trainer(name), KFP, 8888)
    assert not reaches(rules, pod("payroll", {"app": "web"}), trainer(name), 29_500)


@pytest.mark.parametrize("name", SPACES)
def test_only_nodes_reach_servers_of_jobs_and_these_reach_only_their_models(name: str) -> None:
    rules, server = policies(name), rollout_server(name)
    assert reaches(rules, trainer(name), server, 8000)
    assert not reaches(rules, trainer(name), server, 22)
    for other in (step(name, "train"), server, pod("payroll", {"app": "web"}), pod(SPACES[name], {"app": "notebook"})):
        assert not reaches(rules, other, server, 8000)
    assert reaches(rules, server, DNS, 53, "UDP")
    assert reaches(rules, server, *((SEAWEEDFS, 8333) if name == "overlays/dev" else (INTERNET, 443)))
    for target, port in ((trainer(name), 29500), (service(name, "mlflow"), 5000), (KFP, 8887), (TRAINER, 10443)):
        assert not reaches(rules, server, target, port)


@pytest.mark.parametrize("name", ["overlays/dev", "overlays/gpu-pool"])
def test_only_mlflow_and_its_migration_reach_the_database(name: str) -> None:
    rules = policies(name)
    database = service(name, "mlflow-db")
    assert reaches(rules, service(name, "mlflow"), database, 5432)
    assert reaches(rules, service(name, "mlflow-migrate-3-17-2"), database, 5432)
    assert not reaches(rules, pod(SPACES[name], {"app.kubernetes.io/part-of": "vicur"}), database, 5432)
    assert not reaches(rules, database, INTERNET, 443)
    assert not reaches(rules, service(name, "mlflow-migrate-3-17-2"), INTERNET, 443)


def test_only_pods_of_vicur_reach_mlflow() -> None:
    rules = policies("overlays/gpu-pool")
    assert not reaches(rules, pod("team-a", {"app": "notebook"}), service("overlays/gpu-pool", "mlflow"), 5000)
    assert reaches(rules, step("overlays/multi-user", "train"), service("overlays/gpu-pool", "mlflow"), 5000)


@pytest.mark.parametrize("name", SPACES)
def test_job_that_installs_weights_reaches_the_hub_and_no_service(name: str) -> None:
    rules = policies(name)
    job = pod(SPACES[name], {"app.kubernetes.io/part-of": "vicur", "vicur.dev/task": "stage-models"})
    assert reaches(rules, job, INTERNET, 443)
    assert not reaches(rules, job, service(name, "mlflow"), 5000)
    assert not reaches(rules, job, KFP, 8887)


@pytest.mark.parametrize("name", SPACES)
def test_steps_that_need_the_hub_may_reach_it(name: str) -> None:
    rules = [policy for policy in policies(name) if policy["metadata"]["name"] == "vicur-stage-models-to-hub"]
    assert reaches(rules, step(name, "base"), INTERNET, 443)
    # A pod that a policy selects reaches nothing else.
    selected = {task for task in (*STEPS, *PORTION_STEPS) if not reaches(rules, step(name, task), INTERNET, 80)}
    needing = {each.stage for each in STEP_TABLE if each.needs.hub}
    portions = {task for task in PORTION_STEPS if task.rpartition("-")[0] in needing}
    assert selected == {"preflight", *needing, *portions}


@pytest.mark.parametrize("name", ["overlays/dev", "overlays/multi-user"])
def test_other_pods_of_a_shared_namespace_are_not_affected(name: str) -> None:
    notebook = pod(SPACES[name], {"app": "notebook"})
    assert reaches(policies(name), notebook, INTERNET, 80)
    assert reaches(policies(name), pod("istio-system", {"app": "gateway"}), notebook, 8888)


@pytest.mark.parametrize("name", SPACES)
def test_dns_cache_of_the_node_is_reachable(name: str) -> None:
    rules, metadata = policies(name), Peer(address="169.254.169.254")
    driver = pod("vicur", {"pipelines.kubeflow.org/v2_component": "true"})
    for one in (step(name, "train"), trainer(name), service(name, "mlflow"), driver):
        assert reaches(rules, one, Peer(address="169.254.20.10"), 53, "UDP")
    for one in (step(name, "train"), trainer(name), service(name, "mlflow")):
        assert not reaches(rules, one, metadata, 53, "UDP")


def test_other_pods_of_our_namespace_reach_nothing() -> None:
    stranger = pod("vicur", {"app": "miner"})
    assert not reaches(policies("overlays/gpu-pool"), stranger, INTERNET, 443)
    assert not reaches(policies("overlays/gpu-pool"), stranger, DNS, 53, "UDP")


def test_pods_of_kubeflow_pipelines_work_in_our_namespace() -> None:
    rules = policies("overlays/gpu-pool")
    driver = pod("vicur", {"pipelines.kubeflow.org/v2_component": "true"})
    artifacts = pod("vicur", {"app": "ml-pipeline-ui-artifact"})
    assert reaches(rules, driver, KFP, 8887)
    assert reaches(rules, driver, DNS, 53, "UDP")
    assert reaches(rules, pod("kubeflow", {"app": "ml-pipeline-ui"}), artifacts, 3000)
    assert reaches(rules, artifacts, SEAWEEDFS, 8333)
    assert not reaches(rules, driver, service("overlays/gpu-pool", "mlflow"), 5000)


@pytest.mark.parametrize("name", ["overlays/dev", "overlays/gpu-pool"])
def test_component_admits_the_mlflow_plugin_of_kubeflow_pipelines(name: str, tmp_path: Path) -> None:
    server = service(name, "mlflow")
    driver = pod(SPACES[name], {"pipelines.kubeflow.org/v2_component": "true"})
    before = policies(name)
    after = [m for m in with_component(name, "kfp-mlflow-plugin", tmp_path) if m["kind"] == "NetworkPolicy"]
    for one in (KFP, driver, pod("team-a", dict(driver.labels))):
        assert not reaches(before, one, server, 5000)
        assert reaches(after, one, server, 5000)
    # Everything else is as before: for drivers of a shared namespace no policy may begin to apply.
    assert reaches(after, driver, KFP, 8887)
    assert reaches(after, driver, INTERNET, 443)
    assert not reaches(after, pod("kubeflow", {"app": "ml-pipeline-ui"}), server, 5000)
    assert not reaches(after, driver, service(name, "mlflow-db"), 5432)
    assert [m["metadata"]["name"] for m in after] == [m["metadata"]["name"] for m in before]


@pytest.mark.parametrize("name", SPACES)
def test_every_policy_selects_a_known_pod(name: str) -> None:
    known = [step(name, task) for task in STEPS] + [
        trainer(name),
        rollout_server(name),
        pod(SPACES[name], {"app": "ml-pipeline-ui-artifact"}),
    ]
    known += [pod(SPACES[name], t["metadata"]["labels"]) for t in pod_templates(rendered(name)).values()]
    known.append(pod(SPACES[name], {"app.kubernetes.io/part-of": "vicur", "vicur.dev/task": "stage-models"}))
    for policy in (m for m in rendered(name) if m["kind"] == "NetworkPolicy"):
        alone = {**policy, "spec": {"podSelector": policy["spec"]["podSelector"], "policyTypes": ["Egress"]}}
        assert any(not reaches([alone], each, INTERNET, 1) for each in known), policy["metadata"]["name"]
