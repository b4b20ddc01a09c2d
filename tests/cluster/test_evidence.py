"""How a run ended is concluded from its workflow, its pods and Kubeflow Pipelines' API, in the shapes that real servers have."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.run_objects import EARLIER, ROOT, RUN, TRAIN, RecordedWorkflow, kfp_run, pod
from vicur.cluster.evidence import Evidence, FailedStep, conclude
from vicur.cluster.kfp_run import evidence_of_run
from vicur.cluster.pod_evidence import evidence_of_pods
from vicur.cluster.workflow import evidence_of_workflow


@pytest.fixture
def workflow() -> RecordedWorkflow:
    return RecordedWorkflow()


def test_a_workflow_whose_steps_all_ended_well_succeeded(workflow: RecordedWorkflow) -> None:
    assert evidence_of_workflow(workflow.object) == Evidence("succeeded")


def test_a_workflow_of_cached_steps_names_the_run_that_made_the_results(workflow: RecordedWorkflow) -> None:
    workflow.cache()
    assert evidence_of_workflow(workflow.object) == Evidence("succeeded", cached=True, made_by=EARLIER)


def test_one_step_that_ran_is_a_change(workflow: RecordedWorkflow) -> None:
    workflow.cache()
    for each in workflow.node(f"{TRAIN}-driver")["outputs"]["parameters"]:
        each["value"] = "false"
    assert evidence_of_workflow(workflow.object) == Evidence("succeeded")


def test_nodes_that_argo_has_compressed_are_read(workflow: RecordedWorkflow) -> None:
    workflow.set_phase(TRAIN, "Failed")
    workflow.compress()
    assert evidence_of_workflow(workflow.object).verdict == "failed"


def test_a_terminated_workflow_is_not_a_failure(workflow: RecordedWorkflow) -> None:
    workflow.terminate()
    assert evidence_of_workflow(workflow.object) == Evidence("terminated")


def test_a_run_that_succeeded_before_it_was_terminated_succeeded(workflow: RecordedWorkflow) -> None:
    workflow.object["spec"]["activeDeadlineSeconds"] = 0
    assert evidence_of_workflow(workflow.object).verdict == "succeeded"


@pytest.mark.parametrize("phase", ["Failed", "Error"])
def test_the_step_that_failed_is_named(workflow: RecordedWorkflow, phase: str) -> None:
    workflow.set_phase(TRAIN, phase, "main: Error (exit code 2)")
    evidence = evidence_of_workflow(workflow.object)
    assert evidence.verdict == "failed"
    assert [step.text for step in evidence.failed] == ["train failed (main: Error (exit code 2))."]


def test_a_driver_that_failed_is_named_with_its_step(workflow: RecordedWorkflow) -> None:
    workflow.set_phase(f"{ROOT}.preflight-driver", "Failed", "Error (exit code 1)")
    (step,) = evidence_of_workflow(workflow.object).failed
    assert step.text == "preflight could not be started, because its driver failed (Error (exit code 1))."


def test_an_attempt_that_was_repeated_with_success_is_no_failure(workflow: RecordedWorkflow) -> None:
    again = {**workflow.node(f"{TRAIN}.executor(0)"), "name": f"{TRAIN}.executor(1)", "id": "again"}
    workflow.node(f"{TRAIN}.executor(0)")["phase"] = "Error"
    workflow.nodes["again"] = again
    assert evidence_of_workflow(workflow.object) == Evidence("succeeded")


def test_a_workflow_that_still_runs_says_nothing(workflow: RecordedWorkflow) -> None:
    workflow.node(ROOT)["phase"] = "Running"
    assert evidence_of_workflow(workflow.object) == Evidence()
    assert evidence_of_workflow({}) == Evidence()


@pytest.mark.parametrize(
    ("run", "verdict"),
    [
        (kfp_run("SUCCEEDED"), "succeeded"),
        (kfp_run("FAILED"), "failed"),
        (kfp_run("FAILED", canceled=True), "terminated"),
        (kfp_run("RUNNING"), None),
        ({}, None),
        ({"run_details": {"task_details": [{"display_name": None, "state": "SKIPPED"}]}}, None),
    ],
)
def test_a_run_at_kfps_api_is_judged_by_the_task_around_its_steps(run: dict[str, Any], verdict: str | None) -> None:
    assert evidence_of_run(run) == Evidence(verdict)


def evidence_from(*pods: dict[str, Any], log: str = "") -> Evidence:
    return evidence_of_pods(pods, lambda _: log)


def test_a_step_out_of_memory_is_reported_with_its_limit_and_its_setting() -> None:
    killed = pod("train", RUN, phase="Failed", subject="vicur", code=137, reason="OOMKilled", memory="64Gi", gpus=8)
    (step,) = evidence_from(killed, log="step 3\n").failed
    problem = (
        "train vicur ran out of memory (limit: 64Gi). Raise cluster.gpu_steps.memory and compile the package again."
    )
    assert step.text == problem
    of_cpu = pod("evaluate", RUN, phase="Failed", code=137, reason="OOMKilled", memory="2Gi")
    assert "(limit: 2Gi). Raise cluster.cpu_steps.memory" in evidence_from(of_cpu).failed[0].text
    assert "cluster.steps.memory" in evidence_from(pod("prepare", RUN, phase="Failed", code=137)).failed[0].text


def test_a_launcher_that_reports_a_killed_process_means_that_memory_ran_out() -> None:
    log = "step 3\nF1130 09:08:45.001873      17 main.go:59] failed to execute component: signal: killed\n"
    (step,) = evidence_from(pod("compare", RUN, phase="Failed", code=1, memory="8Gi"), log=log).failed
    assert step.text.startswith(
        "compare was killed, probably because it ran out of memory (limit: 8Gi). Raise cluster.steps"
    )


def test_the_last_error_of_a_step_is_quoted_without_secrets() -> None:
    log = "Error: an earlier one\nError: GET https://ann:hush@host/x?token=hush refused.\nI1130 09:08:31.2 17 launcher.go:1] x\n"
    (step,) = evidence_from(pod("prepare", RUN, phase="Failed", code=2), log=log).failed
    assert step.text == ("prepare failed with exit status 2. Its last error: GET https://***@host/x?token=*** refused.")


def test_a_time_limit_and_an_eviction_are_named() -> None:
    late = pod("train", RUN, phase="Failed", pod_reason="DeadlineExceeded", deadline=7200, code=143)
    assert (
        evidence_from(late).failed[0].text
        == "train exceeded its time limit of 2 hours (cluster.training_timeout_hours)."
    )
    base = pod("evaluate-base", RUN, phase="Failed", subject="base", code=3)
    assert evidence_from(base).failed[0].text == "evaluate base failed with exit status 3."
    unknown = pod("evaluate", RUN, phase="Failed", pod_reason="DeadlineExceeded", code=143)
    del unknown["spec"]["activeDeadlineSeconds"]
    assert evidence_from(unknown).failed[0].text == "evaluate exceeded its time limit (cluster.step_timeout_hours)."
    gone = pod("evaluate", RUN, phase="Failed", pod_reason="Evicted", message="The node was low on memory.")
    assert evidence_from(gone).failed[0].text == "evaluate lost its pod (Evicted: The node was low on memory)."


def test_only_the_last_pod_of_a_step_counts() -> None:
    lost = pod("train", RUN, phase="Failed", created="2026-01-01T08:00:00Z", node=f"{TRAIN}.executor(0)")
    again = pod("train", RUN, created="2026-01-01T09:00:00Z", node=f"{TRAIN}.executor(1)")
    assert evidence_from(again, lost) == Evidence()
    other_cell = pod("train", RUN, phase="Failed", node=TRAIN.replace("(0:0)", "(1:1)") + ".executor(0)")
    assert evidence_from(again, lost, other_cell).verdict == "failed"


def test_pods_show_a_success_only_if_the_last_step_succeeded() -> None:
    assert evidence_from(pod("compare", RUN)) == Evidence()
    assert evidence_from(pod("compare", RUN), pod("register", RUN)) == Evidence("succeeded")
    assert evidence_from(pod("train", RUN, phase="Failed"), pod("register", RUN)).verdict == "failed"
    assert evidence_from(pod("train", RUN, phase="Failed", deadline=0)) == Evidence("terminated")


def test_the_exit_step_and_drivers_are_no_evidence() -> None:
    driver = pod("", RUN, phase="Failed")
    assert evidence_from(pod("outcome", RUN, phase="Failed"), driver) == Evidence()


def test_the_first_verdict_counts_and_the_most_precise_failures_are_shown() -> None:
    coarse, precise = FailedStep("train", "failed"), FailedStep("train vicur", "ran out of memory")
    workflow, pods = Evidence("failed", (coarse,)), Evidence("succeeded", (precise,))
    conclusion = conclude([Evidence(), workflow, pods], [pods, workflow], ["unused."])
    assert conclusion.text == "The run ended: failed. train vicur ran out of memory."


def test_many_failures_are_counted() -> None:
    failed = tuple(FailedStep(f"train {name}", "failed") for name in "abcde")
    text = conclude([Evidence("failed", failed)], [Evidence("failed", failed)], []).text
    assert text == "The run ended: failed. train a failed. train b failed. train c failed. 2 more steps failed."


def test_without_evidence_the_outcome_is_unknown_and_the_reason_is_given() -> None:
    text = conclude([Evidence(), Evidence()], [], ["The workflow of the run is unknown: denied."]).text
    assert text == (
        "The run ended: unknown. There is no evidence of a success or of a failure. The workflow of the run is unknown: denied."
    )
