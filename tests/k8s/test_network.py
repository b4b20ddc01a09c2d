"""What each pod can reach, and what it cannot, in every overlay."""

from __future__ import annotations

import pytest

from tests.k8s.reach import Peer, pod, reaches
from tests.k8s.render import Manifest, pod_templates, rendered

DNS = pod("kube-system", {"k8s-app": "kube-dns"})
KFP = pod("kubeflow", {"app": "ml-pipeline"})
SEAWEEDFS = pod("kubeflow", {"app": "seaweedfs"})
INTERNET = Peer(address="203.0.113.7")
NODE_METADATA = Peer(address="169.254.169.254")
STEPS = ("preflight", "prepare", "extract", "base", "train", "evaluate", "compare", "register", "ablate", "outcome")
SPACES = {"overlays/dev": "kubeflow", "overlays/gpu-pool": "vicur", "overlays/multi-user": "team-a"}


SERVED = ("overlays/serving", "overlays/kserve")


def policies(name: str) -> list[Manifest]:
    """The policies that hold where an overlay is applied: a profile, and a served student, lean on the GPU pool."""
    names = ["overlays/gpu-pool", name] if name in ("overlays/multi-user", *SERVED) else [name]
    return [m for each in names for m in rendered(each) if m["kind"] == "NetworkPolicy"]


def step(name: str, task: str) -> Peer:
    labels = {"app.kubernetes.io/part-of": "vicur", "vicur.dev/task": task}
    return pod(SPACES[name], {**labels, "pipelines.kubeflow.org/v2_component": "true"})


def trainer(name: str) -> Peer:
    """A node of a training: the labels of the runtime, which with Trainer 2.0 are all, and JobSet's."""
    (labels,) = [
        t["metadata"]["labels"]
        for title, t in pod_templates(rendered("overlays/gpu-pool")).items()
        if title.startswith("TrainingRuntime/")
    ]
    return pod(SPACES[name], {**labels, "jobset.sigs.k8s.io/jobset-name": "a"})


def service(name: str, called: str) -> Peer:
    """The pod of a service, which a profile finds in the GPU pool's namespace."""
    home = "overlays/gpu-pool" if name == "overlays/multi-user" else name
    (labels,) = [
        t["metadata"]["labels"] for title, t in pod_templates(rendered(home)).items() if title.split("/")[1] == called
    ]
    return pod(SPACES[home], labels)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("task", STEPS)
def test_a_step_reaches_what_every_step_needs(name: str, task: str) -> None:
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
def test_a_step_reaches_nothing_else(name: str, task: str) -> None:
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
def test_the_cue_model_answers_those_who_make_cues(name: str, task: str) -> None:
    found = reaches(policies(name), step(name, task), service(name, "cue-model"), 8000)
    assert found is (task in ("extract", "preflight"))


def test_the_cue_model_reaches_nothing_but_names() -> None:
    name = "overlays/gpu-pool"
    model = service(name, "cue-model")
    assert not reaches(policies(name), model, INTERNET, 443)
    assert not reaches(policies(name), model, service(name, "mlflow"), 5000)
    assert not reaches(policies(name), trainer(name), model, 8000)


def student(name: str) -> Peer:
    (template,) = pod_templates(rendered(name)).values()
    return pod("vicur", template["metadata"]["labels"])


@pytest.mark.parametrize("name", SERVED)
def test_a_served_student_answers_its_clients_and_reaches_mlflow_alone(name: str) -> None:
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
def test_the_nodes_of_a_training_talk_to_each_other_and_to_nobody_elses_pods(name: str) -> None:
    rules = policies(name)
    assert reaches(rules, trainer(name), trainer(name), 41_234)
    assert reaches(rules, trainer(name), service(name, "mlflow"), 5000)
    assert reaches(rules, trainer(name), *((SEAWEEDFS, 8333) if name == "overlays/dev" else (INTERNET, 443)))
    assert reaches(rules, trainer(name), DNS, 53, "UDP")
    assert not reaches(rules, step(name, "train"), trainer(name), 29_500)
    assert not reaches(rules, trainer(name), KFP, 8888)
    assert not reaches(rules, pod("payroll", {"app": "web"}), trainer(name), 29_500)


@pytest.mark.parametrize("name", ["overlays/dev", "overlays/gpu-pool"])
def test_only_mlflow_and_its_migration_reach_the_database(name: str) -> None:
    rules = policies(name)
    database = service(name, "mlflow-db")
    assert reaches(rules, service(name, "mlflow"), database, 5432)
    assert reaches(rules, service(name, "mlflow-migrate-3-17-2"), database, 5432)
    assert not reaches(rules, pod(SPACES[name], {"app.kubernetes.io/part-of": "vicur"}), database, 5432)
    assert not reaches(rules, database, INTERNET, 443)
    assert not reaches(rules, service(name, "mlflow-migrate-3-17-2"), INTERNET, 443)


def test_mlflow_is_reached_by_our_pods_and_by_an_ingress_alone() -> None:
    rules = policies("overlays/gpu-pool")
    assert not reaches(rules, pod("team-a", {"app": "notebook"}), service("overlays/gpu-pool", "mlflow"), 5000)
    assert reaches(rules, step("overlays/multi-user", "train"), service("overlays/gpu-pool", "mlflow"), 5000)


@pytest.mark.parametrize("name", SPACES)
def test_the_job_that_stages_weights_reaches_the_hub_and_no_service(name: str) -> None:
    rules = policies(name)
    job = pod(SPACES[name], {"app.kubernetes.io/part-of": "vicur", "vicur.dev/task": "stage-models"})
    assert reaches(rules, job, INTERNET, 443)
    assert not reaches(rules, job, service(name, "mlflow"), 5000)
    assert not reaches(rules, job, KFP, 8887)


@pytest.mark.parametrize("name", ["overlays/dev", "overlays/multi-user"])
def test_other_pods_of_a_namespace_that_is_not_ours_go_on_as_before(name: str) -> None:
    notebook = pod(SPACES[name], {"app": "notebook"})
    assert reaches(policies(name), notebook, INTERNET, 80)
    assert reaches(policies(name), pod("istio-system", {"app": "gateway"}), notebook, 8888)


@pytest.mark.parametrize("name", SPACES)
def test_names_are_looked_up_at_a_cache_of_the_node_too(name: str) -> None:
    rules, metadata = policies(name), Peer(address="169.254.169.254")
    driver = pod("vicur", {"pipelines.kubeflow.org/v2_component": "true"})
    for one in (step(name, "train"), trainer(name), service(name, "mlflow"), driver):
        assert reaches(rules, one, Peer(address="169.254.20.10"), 53, "UDP")
    for one in (step(name, "train"), trainer(name), service(name, "mlflow")):
        assert not reaches(rules, one, metadata, 53, "UDP")


def test_other_pods_of_our_own_namespace_are_cut_off() -> None:
    stranger = pod("vicur", {"app": "miner"})
    assert not reaches(policies("overlays/gpu-pool"), stranger, INTERNET, 443)
    assert not reaches(policies("overlays/gpu-pool"), stranger, DNS, 53, "UDP")


def test_kfps_own_pods_work_in_our_own_namespace() -> None:
    rules = policies("overlays/gpu-pool")
    driver = pod("vicur", {"pipelines.kubeflow.org/v2_component": "true"})
    artifacts = pod("vicur", {"app": "ml-pipeline-ui-artifact"})
    assert reaches(rules, driver, KFP, 8887)
    assert reaches(rules, driver, DNS, 53, "UDP")
    assert reaches(rules, pod("kubeflow", {"app": "ml-pipeline-ui"}), artifacts, 3000)
    assert reaches(rules, artifacts, SEAWEEDFS, 8333)
    assert not reaches(rules, driver, service("overlays/gpu-pool", "mlflow"), 5000)


@pytest.mark.parametrize("name", SPACES)
def test_every_policy_holds_some_pod_that_we_know(name: str) -> None:
    known = [step(name, task) for task in STEPS] + [
        trainer(name),
        pod(SPACES[name], {"app": "ml-pipeline-ui-artifact"}),
    ]
    known += [pod(SPACES[name], t["metadata"]["labels"]) for t in pod_templates(rendered(name)).values()]
    known.append(pod(SPACES[name], {"app.kubernetes.io/part-of": "vicur", "vicur.dev/task": "stage-models"}))
    for policy in (m for m in rendered(name) if m["kind"] == "NetworkPolicy"):
        alone = {**policy, "spec": {"podSelector": policy["spec"]["podSelector"], "policyTypes": ["Egress"]}}
        assert any(not reaches([alone], each, INTERNET, 1) for each in known), policy["metadata"]["name"]
