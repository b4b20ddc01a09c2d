"""The double of the server answers in the shapes that a server 2.17.0 was recorded with."""

from __future__ import annotations

from typing import Any

import kfp_server_api
import pytest
from vicur_pipelines.submit.nodes import inner_id, iteration_of, pods_of

from tests.pipelines.kfp_api import checked
from tests.pipelines.kfp_server_double import node, recorded
from tests.pipelines.kfp_workflow import WORKFLOW, node_id, tasks_of

STEPS = [
    node("preflight", "SUCCEEDED", 2, 5),
    node("prepare", "SUCCEEDED", 9, 0, cached=True),
    node("train", "FAILED", 9, 9, iteration=0, attempts=2),
    node("compare", None, 20),
    node("outcome", "SUCCEEDED", 30, 5),
]


def tasks(details: list[dict[str, Any]]) -> list[kfp_server_api.V2beta1PipelineTaskDetail]:
    plain = kfp_server_api.ApiClient().sanitize_for_serialization(details)
    return checked(plain, "list[V2beta1PipelineTaskDetail]")


@pytest.mark.parametrize("name", ["run-terminated", "run-frozen"])
def test_the_double_lists_the_kinds_of_tasks_and_fields_that_were_recorded(name: str) -> None:
    recordings = [task for task in recorded(name)["run_details"]["task_details"] if "display_name" in task]
    fields = {field for task in recordings for field in task}
    doubled = tasks_of(STEPS, "FAILED")
    assert {field for task in doubled for field in task} == fields
    kinds = {
        "root",
        "root-driver",
        "exit-handler-1",
        "exit-handler-1-driver",
        "executor",
        "executor(0)",
        "preflight-driver",
    }
    assert kinds <= {task["display_name"] for task in recordings}
    assert kinds <= {task["display_name"] for task in doubled}
    assert any(task["display_name"] == WORKFLOW for task in doubled)


def test_ids_of_nodes_are_those_of_the_recorded_workflow() -> None:
    path = f"{WORKFLOW}.root.exit-handler-1.distillation.register.executor(0)"
    assert node_id(path) == "vicur-cluster-nqfbr-113364585"
    assert inner_id("vicur-cluster-nqfbr-3558325874", "(0)") == "vicur-cluster-nqfbr-113364585"
    assert inner_id("no-node", "(0)") == ""


def test_the_pods_of_recorded_steps_are_found() -> None:
    found = tasks(recorded("run-frozen")["run_details"]["task_details"])
    executors = {
        child.pod_name for task in found if task.display_name == "executor" for child in task.child_tasks or ()
    }
    steps = [task for task in found if task.display_name in ("preflight", "train")]
    pods = [pods_of(task, found) for task in steps]
    assert len(pods) > 2
    # Each has one pod, a child of its executor and of no other step.
    assert all(len(each) == 1 and each[0] in executors for each in pods)
    assert len({each[0] for each in pods}) == len(pods)


def test_the_pod_of_a_recorded_driver_is_found() -> None:
    found = tasks(recorded("run-terminated")["run_details"]["task_details"])
    (driver,) = [task for task in found if task.display_name == "preflight-driver"]
    (parent,) = [task for task in found if task.display_name == "exit-handler-1"]
    (pod,) = pods_of(driver, found)
    assert pod in [child.pod_name for child in parent.child_tasks]


def test_the_iterations_of_recorded_steps_are_known() -> None:
    found = tasks(recorded("run-frozen")["run_details"]["task_details"])
    trained = [iteration_of(task, found, 6) for task in found if task.display_name == "train"]
    assert sorted(trained) == [0, 1, 2, 3, 4, 5]
    assert [iteration_of(task, found, 6) for task in found if task.display_name == "evaluate"] == [None]
