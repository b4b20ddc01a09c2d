"""``vicur submit`` says why a run failed: from the logs that the server keeps, and from Kubernetes if a kubeconfig is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.kfp_server_double import node
from tests.pipelines.kfp_workflow import node_id
from tests.pipelines.kubernetes_double import KubernetesDouble, pod, serving_kubernetes
from tests.pipelines.submitting import SECRET

PODS = "/api/v1/namespaces/kubeflow/pods"
WORKFLOWS = "/apis/argoproj.io/v1alpha1/namespaces/kubeflow/workflows"
LAUNCHER = (
    "F1130 09:08:45.001873      17 main.go:59] failed to execute component: exit status 2\nError: exit status 1\n"
)
FAILED = node("extract", "FAILED", 3, 5)


@pytest.fixture
def cluster(hidden_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesDouble]:
    """A cluster that the kubeconfig names."""
    del hidden_cluster
    with serving_kubernetes(KubernetesDouble({PODS: [], WORKFLOWS: []})) as double:
        (tmp_path / "kubeconfig").write_text(double.kubeconfig())
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield double


def labels(task: str = "extract") -> dict[str, str]:
    return {"pipeline/runid": "run-1", "vicur.dev/task": task}


def test_a_failed_step_prints_its_own_error_and_the_exact_command_for_its_log(kfp, submit) -> None:
    kfp.script = [("FAILED", [FAILED, node("compare", None), node("outcome", "SUCCEEDED", 9, 4)])]
    kfp.keep_log(
        FAILED, "I1130 09:08:31.2 17 launcher.go:1] start\nError: /data: no such folder. Mount it.\n" + LAUNCHER
    )
    result = submit()
    assert result.code == 1
    assert "extract: failed (5.0 s)" in result.output
    assert "has failed in extract: " in result.output
    assert result.output.splitlines()[-3:] == [
        "extract failed:",
        "  Error: /data: no such folder. Mount it.",
        "  Its log: kubectl logs -n kubeflow -l pipeline/runid=run-1,vicur.dev/task=extract -c main --tail=40",
    ]
    assert "compare" not in result.output


def test_the_log_of_the_last_attempt_is_read_also_if_kfp_retries_every_node(kfp, submit) -> None:
    step = node("extract", "FAILED", 3, 5, attempts=2)
    kfp.script = [("FAILED", [step])]
    kfp.keep_log(step, "Error: the first\n")
    kfp.keep_log(step, "Error: the second\n", ".executor(1)")
    output = submit().output
    assert "Error: the second" in output
    assert "Error: the first" not in output


def test_a_step_in_a_loop_has_the_log_of_its_own_iteration(kfp, submit) -> None:
    steps = [node("train", "SUCCEEDED", 3, 5, iteration=0), node("train", "FAILED", 4, 5, iteration=1)]
    kfp.script = [("FAILED", steps)]
    kfp.keep_log(steps[0], "all is well\n")
    kfp.keep_log(steps[1], "ValueError: nothing to learn\n")
    output = submit("-p", "methods=[opsd, vicur]").output
    assert "train vicur failed:\n  ValueError: nothing to learn" in output


def test_a_step_whose_driver_failed_has_the_drivers_message(kfp, submit) -> None:
    step = node("extract", None, 3, driver="FAILED")
    kfp.script = [("FAILED", [step])]
    kfp.keep_log(step, "F1130 09:08:45.001873 1 main.go:79] KFP driver: no such parameter\n", "-driver")
    output = submit().output
    assert "extract: failed (1.0 s): its driver failed, so it did not start" in output
    assert "  KFP driver: no such parameter" in output
    assert "kubectl logs -n kubeflow -l 'pipeline/runid=run-1,!vicur.dev/task' -c main --tail=40 --prefix" in output


def test_a_long_log_is_read_from_its_end(kfp, submit) -> None:
    kfp.script = [("FAILED", [FAILED])]
    kfp.keep_log(FAILED, "step of a training\n" * 30_000 + "Error: at the end\n" + LAUNCHER)
    assert "  Error: at the end\n" in submit().output


def test_a_server_without_the_log_still_has_the_command(kfp, submit) -> None:
    kfp.script = [("FAILED", [FAILED])]
    output = submit().output
    assert "  No log of it is available.\n  Its log: kubectl logs -n kubeflow -l" in output


def test_the_command_names_the_namespace_of_the_profile(kfp, submit) -> None:
    kfp.multi_user = True
    kfp.script = [("FAILED", [FAILED])]
    assert "kubectl logs -n team-a -l pipeline/runid=run-1,vicur.dev/task=extract" in submit("-n", "team-a").output


def test_secrets_in_an_error_are_redacted(kfp, submit) -> None:
    kfp.script = [("FAILED", [FAILED])]
    kfp.keep_log(FAILED, f"Error: no answer from http://ann:{SECRET}@host\n")
    result = submit()
    assert "Error: no answer from http://***@host" in result.output
    assert SECRET not in result.output + result.error


def test_a_log_is_read_with_the_token(kfp, submit) -> None:
    kfp.token = SECRET
    kfp.script = [("FAILED", [FAILED])]
    kfp.keep_log(FAILED, "Error: why\n")
    assert "Error: why" in submit("--token", SECRET).output


@pytest.mark.parametrize(
    ("step", "gpus", "setting"),
    [
        (FAILED, 1, "cluster.steps.memory"),
        (node("evaluate", "FAILED", 3, 5), 1, "cluster.gpu_steps.memory"),
        (node("evaluate", "FAILED", 3, 5), 0, "cluster.cpu_steps.memory"),
    ],
)
def test_a_process_that_was_killed_names_the_limit_and_the_setting_to_raise(
    kfp, submit, step, gpus: int, setting: str
) -> None:
    kfp.script = [("FAILED", [step])]
    kfp.keep_log(step, "loading\nF1130 09:08:45.1 17 main.go:59] failed to execute component: exit status 137\n")
    output = submit("--set", f"cluster.gpu_count={gpus}", "--set", f"{setting}=3Gi", start=False).output
    assert "Its process was killed (exit status 137), most likely for lack of memory (limit: 3Gi)." in output
    assert f"Raise {setting}: " in output


def test_kubernetes_knows_that_memory_ran_out(kfp, submit, cluster) -> None:
    step = node("train", "FAILED", 4, 5, iteration=0)
    kfp.script = [("FAILED", [step])]
    limits = {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "8"}
    cluster.lists[PODS] = [
        pod("other", {"pipeline/runid": "run-2", "vicur.dev/task": "train"}),
        pod("train-1", labels("train"), code=137, reason="OOMKilled", limits=limits),
    ]
    cluster.logs["train-1"] = "step 3\n"
    output = submit().output
    assert (
        "train vicur failed (OOMKilled):\n  step 3\n  It ran out of memory (limit: 64Gi). Raise cluster.gpu_steps.memory: "
        in output
    )
    assert "  Its log: kubectl logs -n kubeflow train-1 -c main --tail=40" in output


def test_kubernetes_tells_the_pods_of_a_loop_apart(kfp, submit, cluster) -> None:
    step = node("train", "FAILED", 4, 5, iteration=1)
    kfp.script = [("FAILED", [step])]
    mine = {"workflows.argoproj.io/node-id": node_id(step.path + ".executor(0)")}
    cluster.lists[PODS] = [
        pod("train-b", labels("train"), annotations=mine),
        pod("train-a", labels("train"), annotations={"workflows.argoproj.io/node-id": "another"}),
    ]
    cluster.logs |= {"train-a": "Error: a\n", "train-b": "Error: b\n"}
    output = submit().output
    assert "Error: b" in output
    assert "Error: a" not in output


def test_an_evicted_pod_has_the_reason_of_kubernetes(kfp, submit, cluster) -> None:
    kfp.script = [("FAILED", [FAILED])]
    evicted = pod("extract-1", labels(), reason="Evicted", message="The node was low on resource: memory.")
    cluster.lists[PODS] = [{**evicted, "status": {**evicted["status"], "reason": "Evicted"}}]
    assert "extract failed (Evicted: The node was low on resource: memory.):" in submit().output


def test_a_pod_that_is_gone_leaves_the_log_that_the_server_keeps(kfp, submit, cluster) -> None:
    kfp.script = [("FAILED", [FAILED])]
    kfp.keep_log(FAILED, "Error: kept\n")
    assert "Error: kept" in submit().output
    assert PODS in cluster.requests


@pytest.mark.parametrize(
    ("message", "ending", "advice"),
    [
        ("pod deleted", " (pod deleted)", ""),
        ("OOMKilled (exit code 137)", " (OOMKilled (exit code 137))", "It ran out of memory (limit: "),
        ("Error (exit code 2)", "", ""),
    ],
)
def test_argo_remembers_the_end_of_a_pod_that_is_gone(
    kfp, submit, cluster, message: str, ending: str, advice: str
) -> None:
    kfp.script = [("FAILED", [FAILED])]
    nodes = {node_id(FAILED.path + ".executor(0)"): {"phase": "Failed", "message": message}}
    cluster.lists[WORKFLOWS] = [{"metadata": {"labels": labels()}, "status": {"nodes": nodes}}]
    output = submit("--pipeline", "cluster", start=False).output
    assert f"extract failed{ending}:\n" in output
    assert ("memory" in output) == bool(advice)
    assert advice in output


def test_a_cluster_that_refuses_is_as_good_as_none(kfp, submit, cluster) -> None:
    cluster.forbidden |= {PODS, WORKFLOWS}
    kfp.script = [("FAILED", [FAILED])]
    kfp.keep_log(FAILED, "Error: kept\n")
    assert "Error: kept" in submit().output


def test_a_run_that_failed_before_any_pod_has_the_workflows_message(kfp, submit, cluster) -> None:
    """A package above 128 KiB of arguments fails after seconds, without a word of KFP."""
    message = "configmaps is forbidden: User cannot create resource"
    nodes = {"root-driver": {"phase": "Error", "message": message}}
    cluster.lists[WORKFLOWS] = [
        {"metadata": {"labels": labels()}, "status": {"phase": "Error", "message": message, "nodes": nodes}}
    ]
    kfp.script = [("FAILED", [])]
    result = submit()
    assert result.code == 1
    assert result.output.splitlines()[-2:] == ["No step of it has started.", f"The workflow's message: {message}"]


def test_a_failed_step_that_the_server_did_not_report_is_found_in_kubernetes(kfp, submit, cluster) -> None:
    kfp.script = [("FAILED", [node("train", "RUNNING", 4, iteration=0)])]
    cluster.lists[PODS] = [pod("evaluate-1", labels("evaluate")), pod("driver", {"pipeline/runid": "run-1"})]
    cluster.logs["evaluate-1"] = "Error: no such split\n"
    output = submit().output
    assert "The server did not report the end of train vicur" in output
    assert output.endswith(
        "evaluate failed:\n  Error: no such split\n  Its log: kubectl logs -n kubeflow evaluate-1 -c main --tail=40\n"
    )


def test_without_kubernetes_the_command_for_the_workflows_message_is_printed(kfp, submit) -> None:
    kfp.script = [("FAILED", [])]
    output = submit().output
    assert "No step of it has started." in output
    assert "kubectl get workflows.argoproj.io -n kubeflow -l pipeline/runid=run-1 -o yaml | grep message" in output
