"""Jobs with servers: a runtime of their own with further roles, owned by the job, and errors that name the role that failed."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest
import yaml

from tests.cluster.api_server_double import ApiServerDouble
from tests.cluster.launching import JOB, OWNER, REQUEST, Launch, api_of
from tests.cluster.test_manifest import POOL, ROOT, published
from tests.cluster.trainjob_schemas import problems
from vicur.cluster.jobs.manifest import JobRequest, train_job
from vicur.cluster.jobs.monitor import Limits
from vicur.cluster.jobs.server_pod import server_roles
from vicur.cluster.jobs.servers import TASK_VARIABLE, runtime_with, urls
from vicur.cluster.jobs.status import job_status
from vicur.cluster.trainable import require_trainable_on
from vicur.config.cluster import ClusterConfig
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.processes.signals import EXIT_CODE

RUNTIME = yaml.safe_load((ROOT / "k8s/base/training/runtime.yaml").read_text(encoding="utf-8"))
TEACHER = {"type": "checkpoint", "path": "/models/teacher", "placement": "job", "engine": {"tensor_parallel": 4}}
CONFIG = TrainConfig.model_validate(
    {"method": "opsd", "rollout": {"placement": "job", "engine": {"replicas": 2}}, "teacher": TEACHER}
)
INPUTS = {"base": "s3://runs/inputs/b", "teacher": "/models/teacher", "dataset": "s3://runs/inputs/d"}
ROLES = server_roles(CONFIG, INPUTS, POOL, "vicur-serving:1")
LABELS = {**REQUEST.labels}


def runtime(pool: ClusterConfig = POOL) -> dict[str, Any]:
    return runtime_with(ROLES, RUNTIME, JOB, LABELS, pool, {"VICUR_RUN_ID": "run-1"})


def roles_of(manifest: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each["template"] for each in manifest["spec"]["template"]["spec"]["replicatedJobs"]}


def container_of(manifest: dict[str, Any], role: str) -> dict[str, Any]:
    (container,) = roles_of(manifest)[role]["spec"]["template"]["spec"]["containers"]
    return container


def test_runtime_with_servers_is_valid_by_the_published_definition() -> None:
    assert problems(published("trainer_trainingruntimes.yaml"), runtime()) == []


def test_servers_have_their_own_replicas_gpus_image_and_place() -> None:
    made = roles_of(runtime())
    assert [(name, role["spec"].get("completions")) for name, role in made.items()] == [
        ("node", None),
        ("rollout", 2),
        ("teacher", 1),
    ]
    gpus = {name: container_of(runtime(), name)["resources"]["limits"].get("nvidia.com/gpu") for name in made}
    assert gpus == {"node": None, "rollout": "1", "teacher": "4"}
    pod = made["rollout"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "a100"}
    assert {"operator": "Exists"} in pod["tolerations"]
    assert container_of(runtime(), "rollout")["image"] == "vicur-serving:1"
    shared = next(each for each in pod["volumes"] if each["name"] == "shm")
    assert shared["emptyDir"] == {"medium": "Memory"}


def test_only_nodes_decide_when_the_job_is_complete_and_trainer_sees_one_trainer() -> None:
    manifest = runtime()
    assert manifest["spec"]["template"]["spec"]["successPolicy"]["targetReplicatedJobs"] == ["node"]
    ancestors = [role.get("metadata", {}).get("labels", {}) for role in roles_of(manifest).values()]
    assert [bool(each) for each in ancestors] == [True, False, False]
    assert RUNTIME["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["metadata"]["labels"]


def test_server_has_the_key_and_the_object_store_but_not_mlflow() -> None:
    manifest = runtime()
    for role in ("node", "rollout"):
        (key,) = [each for each in container_of(manifest, role)["env"] if each["name"] == "VLLM_API_KEY"]
        assert key["valueFrom"]["secretKeyRef"] == {"name": "vicur-servers", "key": "VLLM_API_KEY"}
    sources = container_of(manifest, "rollout")["envFrom"]
    names = [next(iter(each.values()))["name"] for each in sources]
    assert names == ["vicur-endpoints", "vicur-s3"]
    security = ("securityContext", "volumeMounts")
    assert all(container_of(manifest, "rollout")[name] == container_of(manifest, "node")[name] for name in security)


def test_server_gets_its_model_but_not_the_dataset() -> None:
    tasks = {role.name: json.loads(role.task)["inputs"] for role in ROLES}
    assert tasks == {
        "rollout": {"base": "s3://runs/inputs/b"},
        "teacher": {"base": "s3://runs/inputs/b", "teacher": "/models/teacher"},
    }
    variables = {each["name"]: each.get("value") for each in container_of(runtime(), "teacher")["env"]}
    assert json.loads(variables[TASK_VARIABLE])["inputs"] == tasks["teacher"]
    assert "VICUR_NODE_TASK" not in variables


def test_servers_are_named_by_the_host_names_that_jobset_gives() -> None:
    assert urls(JOB, ROLES[0]) == (f"http://{JOB}-rollout-0-0.{JOB}:8000", f"http://{JOB}-rollout-0-1.{JOB}:8000")
    assert all(len(url.split("/")[2].split(".")[0]) <= 63 for role in ROLES for url in urls(JOB, role))


def with_servers() -> JobRequest:
    return replace(REQUEST, servers=ROLES)


def finish(server: ApiServerDouble, job: str) -> None:
    server.start(job)
    server.complete(job)


def test_job_gets_a_runtime_of_its_own_that_it_owns(launch: Launch) -> None:
    with ApiServerDouble(finish).serving() as server:
        server.runtimes["vicur-torch"] = RUNTIME
        assert launch.run(server, request=with_servers()) == "student"
        (job,) = server.created
        made = server.runtimes[JOB]
        assert job["spec"]["runtimeRef"] == {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": JOB}
        (owner,) = made["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("TrainJob", JOB)
        assert server.runtimes["vicur-torch"] == RUNTIME


def test_runtime_of_a_killed_attempt_is_replaced(launch: Launch) -> None:
    with ApiServerDouble(finish).serving() as server:
        spec = {"template": {"spec": {"replicatedJobs": [], "suspend": True}}, "podGroupPolicy": {"coscheduling": {}}}
        left = {"metadata": {"name": JOB, "ownerReferences": [OWNER], "labels": LABELS}, "spec": spec}
        server.runtimes |= {"vicur-torch": RUNTIME, JOB: left}
        assert launch.run(server, request=with_servers()) == "student"
        made = server.runtimes[JOB]
        assert [*roles_of(made)] == ["node", "rollout", "teacher"]
        assert made["spec"].keys() == runtime()["spec"].keys()
        assert "suspend" not in made["spec"]["template"]["spec"]


def test_runtime_of_other_work_is_not_changed(launch: Launch) -> None:
    with ApiServerDouble(finish).serving() as server:
        other = {"metadata": {"name": JOB}, "spec": {}}
        server.runtimes |= {"vicur-torch": RUNTIME, JOB: other}
        with pytest.raises(VicurError, match="a training runtime with this name exists that belongs to other work"):
            launch.run(server, request=with_servers())
        assert server.runtimes[JOB] == {"metadata": {"name": JOB}, "spec": {}}
        assert server.created == []


def test_runtime_that_is_being_deleted_is_waited_for(launch: Launch) -> None:
    """The garbage collector deletes it after the job of an earlier attempt."""
    with ApiServerDouble(finish).serving() as server:
        going = {"metadata": {"name": JOB, "labels": LABELS, "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}}
        server.runtimes |= {"vicur-torch": RUNTIME, JOB: going}
        threading.Timer(0.3, server.runtimes.pop, (JOB,)).start()
        assert launch.run(server, request=with_servers()) == "student"
        assert "deletionTimestamp" not in server.runtimes[JOB]["metadata"]


def test_waiting_for_the_deletion_of_a_runtime_has_a_limit(launch: Launch) -> None:
    with ApiServerDouble(finish).serving() as server:
        going = {"metadata": {"name": JOB, "labels": LABELS, "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}}
        server.runtimes |= {"vicur-torch": RUNTIME, JOB: going}
        with pytest.raises(VicurError, match="the training runtime of an earlier attempt is still being") as caught:
            launch.run(server, request=with_servers(), limits=Limits(None, 0.3, 60))
        assert caught.value.exit_code == EXIT_CODE
        assert server.created == []


def test_runtime_of_an_adopted_job_belongs_to_it(launch: Launch) -> None:
    """The earlier attempt was killed between creating the job and giving it its runtime."""
    with ApiServerDouble(lambda *_: None).serving() as server:
        left = {**runtime(), "metadata": {"name": JOB, "ownerReferences": [OWNER]}}
        server.runtimes |= {"vicur-torch": RUNTIME, JOB: left}
        api_of(server).create(train_job(with_servers(), ClusterConfig(nodes=2), {"runtimePatches"}))
        finish(server, JOB)
        owners: list[dict[str, Any]] = []
        launch.run(
            server, lambda: owners.extend(server.runtimes[JOB]["metadata"]["ownerReferences"]), request=with_servers()
        )
        assert [(each["kind"], each["name"], each["uid"]) for each in owners] == [
            ("TrainJob", JOB, server.created[0]["metadata"]["uid"])
        ]


def test_missing_runtime_is_an_error_before_a_job_is_created(launch: Launch) -> None:
    with ApiServerDouble(finish).serving() as server:
        with pytest.raises(VicurError, match="has no training runtime 'vicur-torch'"):
            launch.run(server, request=with_servers())
        assert server.created == []


def pod(role: str, index: int, phase: str) -> dict[str, Any]:
    labels = {"jobset.sigs.k8s.io/replicatedjob-name": role, "batch.kubernetes.io/job-completion-index": str(index)}
    return {"metadata": {"name": f"{role}-{index}", "labels": labels}, "status": {"phase": phase}}


def test_status_counts_nodes_and_servers_apart() -> None:
    pods = [pod("node", 0, "Running"), pod("rollout", 0, "Running"), pod("rollout", 1, "Pending")]
    job = {"metadata": {}, "spec": {}}
    assert job_status(job, pods, 1, "", 2).description == "1 of 1 node is running, 1 of 2 servers are running"
    assert job_status(job, pods[:2], 1, "", 1).description == "the node is running, with 1 server"


def lost_server(message: str) -> Any:
    def play(server: ApiServerDouble, job: str) -> None:
        server.start(job)
        name = server.add_pod(job, 1)
        server.pods[name]["metadata"]["labels"]["jobset.sigs.k8s.io/replicatedjob-name"] = "rollout"
        server.end(name, 1)
        server.fail(job, message=message)

    return play


def test_error_names_the_server_that_ended_the_job(launch: Launch) -> None:
    play = lost_server(f"jobset failed due to one or more job failures (first failed job: {JOB}-rollout-0)")
    with ApiServerDouble(play).serving() as server:
        server.runtimes["vicur-torch"] = RUNTIME
        with pytest.raises(VicurError, match="rollout server 1 exited with status 1") as failed:
            launch.run(server, request=with_servers())
        assert failed.value.retryable
        assert server.jobs == {}


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"jobs": {"always": True, "runtime_kind": "ClusterTrainingRuntime"}}, "runtime of its own")],
)
def test_job_whose_runtime_cannot_hold_servers_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(VicurError, match=words):
        require_trainable_on(CONFIG, ClusterConfig.model_validate(settings))


def test_servers_of_a_step_without_a_job_share_its_gpus() -> None:
    with pytest.raises(VicurError, match="the servers of the training need 6 GPUs, but each machine has 4"):
        require_trainable_on(CONFIG, ClusterConfig(gpu_count=4))
    require_trainable_on(CONFIG, ClusterConfig(gpu_count=8))
