"""``vicur submit`` following a run: its lines, its verdict, and servers that go away."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from vicur_pipelines.submit import silence
from vicur_pipelines.submit.follow import follow
from vicur_pipelines.submit.server import connect

from tests.pipelines.kfp_server_double import KfpServerDouble, node, recorded
from tests.pipelines.kubernetes_double import KubernetesDouble, serving_kubernetes
from tests.pipelines.submitting import SECRET, create_with_kfp


def test_a_terminal_shows_pending_steps(kfp, submit) -> None:
    submit("--no-follow")
    kfp.script = [("RUNNING", [node("prepare", "SUCCEEDED", 0, 2), node("extract", "RUNNING", 3)]), ("SUCCEEDED", [])]
    screen = io.StringIO()
    server = connect(kfp.endpoint, None, None)
    ending = follow(server, "run-1", Console(file=screen, force_terminal=True, width=100, height=40), 0.1)
    assert ending.state == "SUCCEEDED"
    for name in ("prepare", "extract", "train", "register", "outcome"):
        assert name in screen.getvalue()


@pytest.mark.parametrize(
    ("methods", "labels"),
    [
        ("[opsd, vicur]", ("train opsd", "train vicur")),
        ("[opsd]", ("train opsd", "train")),
        ("[]", ("train", "train 2")),
    ],
)
def test_steps_in_a_loop_are_labeled_with_their_method_or_numbered(
    kfp, submit, methods: str, labels: tuple[str, str]
) -> None:
    first, second = node("train", "RUNNING", 5, iteration=0), node("train", "RUNNING", 9, iteration=1)
    kfp.script = [
        ("RUNNING", [first]),
        ("RUNNING", [second, first]),
        ("RUNNING", [replace(second, state="SUCCEEDED"), first]),
        ("SUCCEEDED", [replace(second, state="SUCCEEDED"), replace(first, state="SUCCEEDED")]),
    ]
    lines = [line for line in submit("-p", f"methods={methods}").output.splitlines() if line.startswith("train")]
    one, two = labels
    assert lines == [f"{one}: running", f"{two}: running", f"{two}: finished", f"{one}: finished"]


def test_a_terminal_shows_one_line_per_method(kfp, submit) -> None:
    submit("--no-follow", "-p", "methods=[opsd, vicur]")
    kfp.script = [("RUNNING", [node("train", "RUNNING", 5, iteration=1)]), ("SUCCEEDED", [])]
    screen = io.StringIO()
    follow(connect(kfp.endpoint, None, None), "run-1", Console(file=screen, force_terminal=True, width=100), 0.1)
    assert "train opsd" in screen.getvalue()
    assert "train vicur" in screen.getvalue()


@pytest.mark.parametrize(
    ("states", "code", "words"),
    [
        (("RUNNING", "SUCCEEDED"), 0, "has succeeded"),
        (("RUNNING", "FAILED"), 1, "has failed"),
        (("SKIPPED",), 1, "was skipped"),
        (("CANCELED",), 3, "was terminated"),
        # What a terminated workflow ends as.
        (("RUNNING", "CANCELING", "FAILED"), 3, "was terminated"),
        (("RUNTIME_STATE_UNSPECIFIED", "PAUSED", "SUCCEEDED"), 0, "has succeeded"),
    ],
)
def test_the_exit_status_is_the_runs_true_state(kfp, submit, states: tuple[str, ...], code: int, words: str) -> None:
    kfp.script = [(state, []) for state in states]
    result = submit()
    assert result.code == code
    assert f"Run run-1 {words}" in result.output


def test_a_run_can_be_followed_by_its_id(kfp, submit) -> None:
    run_id = submit("--no-follow").output.split()[-1]
    kfp.script = [("FAILED", [node("base", "FAILED", 0, 1)])]
    result = submit("--follow", run_id, start=False)
    assert result.code == 1
    assert "base: failed (1.0 s)" in result.output


def test_a_run_that_the_sdk_started_can_be_followed(kfp, submit, package) -> None:
    create_with_kfp(kfp, package)
    kfp.script = [("SUCCEEDED", [node("base", "SUCCEEDED", 0, 1)])]
    result = submit("--follow", "run-1", start=False)
    assert (result.code, "base: finished (1.0 s)" in result.output) == (0, True)


def test_an_unknown_run_is_reported(submit) -> None:
    result = submit("--follow", "nowhere", start=False)
    assert result.code == 2
    assert "not found on the server (404: ResourceNotFoundError: nowhere not found)" in result.error


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Processes that a shell starts in the background ignore SIGINT, and so would their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_does_not_stop_the_run_and_prints_how_to_follow_it(kfp, package) -> None:
    kfp.script = [("RUNNING", [node("prepare", "RUNNING")])]
    command = [sys.executable, "-c", "from vicur.cli import main; main()", "submit", "--package", str(package)]
    command += ["--endpoint", kfp.endpoint, "--every", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while kfp.looks < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            output, error = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "The run continues. Follow it: vicur submit --follow run-1" in output
    assert "Terminate it: vicur submit --terminate run-1" in output
    assert error == ""
    assert "run_service_terminate_run" not in kfp.requests


@pytest.mark.parametrize("fault", [503, 429, None], ids=["unavailable", "too many requests", "hung up"])
def test_a_server_that_goes_away_while_a_run_is_followed_is_retried(kfp, submit, fault: int | None) -> None:
    kfp.script = [("RUNNING", [])] * 3 + [("SUCCEEDED", [])]
    # urllib3 itself retries three times if the server hangs up.
    kfp.fail_after_looks(2, [("run_service_get_run", fault, b"upstream")] * (5 if fault is None else 2))
    result = submit()
    assert result.code == 0
    assert result.output.count("Retrying.") == 1


def test_a_run_whose_state_is_never_returned_is_an_error(kfp, submit) -> None:
    submit("--no-follow")
    kfp.faults = [("run_service_get_run", 503, b"upstream")]
    result = submit("--follow", "run-1", start=False)
    assert (result.code, "the server has a problem (503: upstream)" in result.error) == (2, True)


def test_a_token_that_expires_does_not_stop_the_run(kfp, submit) -> None:
    kfp.token = SECRET
    kfp.script = [("RUNNING", [node("prepare", "RUNNING")])]
    kfp.fail_after_looks(2, [("run_service_get_run", 401, b"expired")])
    result = submit("--token", SECRET)
    assert result.code == 2
    assert "requires a valid token" in result.error
    assert "The run continues" in result.error
    assert "vicur submit --follow run-1" in result.error
    assert SECRET not in result.output + result.error


# --- what the server 2.17.0 was recorded to answer ---


def test_a_run_that_was_terminated_before_it_was_followed_is_recognized(kfp, submit) -> None:
    submit("--no-follow")
    kfp.answers["run-1"] = recorded("run-terminated")
    result = submit("--follow", "run-1", start=False)
    assert result.code == 3
    assert "preflight: failed (10 s): its driver failed, so it did not start" in result.output
    assert "Run run-1 was terminated" in result.output
    assert "distillation" not in result.output


def name_tasks_as_recorded(kfp: KfpServerDouble) -> None:
    """Let the package have the task names of the package that was recorded, from which the ids of its nodes follow."""
    (version,) = kfp.versions.values()
    for component in version.pipeline_spec["pipeline_spec"]["components"].values():
        tasks = component.get("dag", {}).get("tasks", {})
        if "train" in tasks:
            tasks["evaluate-2"] = tasks.pop("evaluate")


def test_steps_of_unknown_end_are_not_failed_and_the_verdict_is_the_runs_state(kfp, submit) -> None:
    """Above 1 MiB of workflow status the tasks stay as they were, though the run continues."""
    submit("--no-follow")
    name_tasks_as_recorded(kfp)
    frozen = recorded("run-frozen")
    kfp.answers["run-1"] = {**frozen, "state": "SUCCEEDED"}
    result = submit("--follow", "run-1", start=False)
    assert result.code == 0
    assert "Run run-1 has succeeded" in result.output
    assert "The server did not report the end of " in result.output
    assert "evaluate-2 vicur, evaluate-2 sft: it stops reporting steps above 1 MiB" in result.output
    assert "failed" not in result.output


def test_dags_that_stay_running_do_not_matter(kfp, submit) -> None:
    kfp.script = [("SUCCEEDED", [node("prepare", "SUCCEEDED", 2, 0, cached=True), node("outcome", "SUCCEEDED", 9, 5)])]
    result = submit()
    assert result.code == 0
    assert "did not report" not in result.output


@pytest.mark.parametrize(
    ("step", "seconds", "words"),
    [
        # Nothing runs: KFP starts the next pod within seconds.
        (node("prepare", "SUCCEEDED", 2, 5), 200, "The server has stopped reporting steps: no change for 3 minutes"),
        # A training of hours looks like that.
        (node("train", "RUNNING", 2, iteration=0), 1000, ""),
        (
            node("train", "RUNNING", 2, iteration=0),
            2000,
            "The server has reported no change of any step for 33 minutes.",
        ),
    ],
)
def test_a_server_that_stops_reporting_steps_is_mentioned_once(
    kfp, submit, monkeypatch: pytest.MonkeyPatch, step, seconds: float, words: str
) -> None:
    clock = iter(range(0, 10**9, seconds))
    monkeypatch.setattr(silence, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    kfp.script = [("RUNNING", [step]), ("RUNNING", [step]), ("SUCCEEDED", [step])]
    result = submit()
    assert result.code == 0
    assert result.output.count("of any step" if "any step" in words else "stopped reporting") == bool(words)
    assert words in result.output


def test_kubernetes_knows_at_once_that_the_status_is_compressed(
    kfp, submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/apis/argoproj.io/v1alpha1/namespaces/kubeflow/workflows"
    workflow = {"metadata": {"labels": {"pipeline/runid": "run-1"}}, "status": {"compressedNodes": "H4sIAAAA"}}
    clock = iter(range(0, 10**9, 70))
    monkeypatch.setattr(silence, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    step = node("train", "RUNNING", 2, iteration=0)
    kfp.script = [("RUNNING", [step])] * 3 + [("SUCCEEDED", [step])]
    with serving_kubernetes(KubernetesDouble({path: [workflow]})) as cluster:
        (tmp_path / "kubeconfig").write_text(cluster.kubeconfig())
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        result = submit()
    assert result.code == 0
    assert (
        result.output.count("The server has stopped reporting steps: the status of the run's workflow exceeds 1 MiB.")
        == 1
    )
