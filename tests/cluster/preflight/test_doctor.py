"""``vicur doctor`` and the pipeline's first step: which checks run, what is printed, and the exit status."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.calling import Command, caller
from tests.cluster.preflight.doubles import KubernetesDouble, node, openai_double, serving
from tests.tracking.server import Server
from vicur.cluster.preflight import needs_of, run_preflight, step_checks
from vicur.config.preflight import PreflightConfig
from vicur.config.run import RunConfig
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError

SECRETS = ("s3cr3t-key", "kube-0815", "cue-key", "hunter2")
NEEDS = {
    "pool.gpus": "8",
    "pool.nodes": "2",
    "pool.node_selector": "{gpu: h100}",
    "pool.tolerations": "[{key: nvidia.com/gpu, operator: Exists}]",
    "queue": "gpu-h100",
    "free_gib": "0.1",
}


@pytest.fixture
def vicur(place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    del place
    monkeypatch.setenv("COLUMNS", "160")
    return caller(monkeypatch, capfd)


@pytest.fixture
def cue(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("VICUR_CUE_API_KEY", "cue-key")
    with serving(openai_double("cue-key", "qwen")) as address:
        yield f"{address}/v1"


def needs(values: dict[str, str]) -> list[str]:
    return [word for field, value in values.items() for word in ("--need", f"{field}={value}")]


def statuses(output: str) -> dict[str, str]:
    return {each["name"]: each["status"] for each in json.loads(output)["checks"]}


def test_doctor_passes_without_a_cluster_and_lists_what_a_cluster_needs(vicur: Command, place: Path) -> None:
    found = statuses(vicur("doctor", "--need", "free_gib=0.1", "--json").output)
    assert "failed" not in found.values()
    assert {name for name, status in found.items() if status == "missing"} >= {
        "cluster",
        "gpu pool",
        "buckets",
        "tracking for all",
    }
    result = vicur("doctor", "--need", "free_gib=0.1")
    assert result.code == 0
    assert "no cluster is configured" in result.output
    assert "~/.kube/config" in result.output
    assert "requires 1 node(s) with 1 nvidia.com/gpu each" in result.output
    assert list(place.iterdir()) == [], "the checks write nothing"


def test_doctor_fails_if_the_requested_cluster_is_missing(vicur: Command) -> None:
    result = vicur("doctor", "--cluster", "--json")
    assert result.code == 1
    found = statuses(result.output)
    assert found["cluster"] == found["gpu pool"] == found["step sizes"] == "failed"
    # A run may do without on purpose.
    assert found["buckets"] == "warning"
    assert found["python"] == "ok"


@pytest.mark.usefixtures("s3", "kubernetes")
def test_doctor_passes_in_under_a_minute_if_everything_is_present(vicur: Command, server: Server, cue: str) -> None:
    began = time.monotonic()
    result = vicur(
        *(
            "doctor",
            "--cluster",
            "--json",
            "--set",
            f"tracking.uri={server.uri}",
            "--set",
            "checkpoints=s3://runs/checkpoints",
        ),
        *needs(NEEDS | {"cue_endpoint": cue, "cue_model": "qwen"}),
    )
    assert time.monotonic() - began < 60
    found = statuses(result.output)
    assert {name for name, status in found.items() if status != "ok"} <= {"images"}, result.output
    assert result.code == 0
    assert {"bucket s3://runs/checkpoints", "cue endpoint", "trainer", "access", "queue", "quota"} <= found.keys()


@pytest.mark.usefixtures("s3", "kubernetes")
def test_missing_folder_is_a_warning_if_steps_may_have_it_mounted(vicur: Command) -> None:
    there = ("--set", "base.path=/models/8B", "--set", "data={type: folder, path: /mnt/questions}", "--json")
    found = statuses(vicur("doctor", "--cluster", *there).output)
    assert (found["model /models/8B"], found["dataset"]) == ("warning", "warning")
    found = statuses(vicur("doctor", *there).output)
    assert (found["model /models/8B"], found["dataset"]) == ("failed", "failed")


def test_secrets_are_never_printed(
    vicur: Command, s3: object, kubernetes: KubernetesDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    del s3
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:hunter2@127.0.0.1:9")
    monkeypatch.setenv("VICUR_CUE_API_KEY", "cue-key")
    kubernetes.token = "another"  # noqa: S105 (so that the kubeconfig's is refused)
    arguments = needs(NEEDS | {"cue_endpoint": "http://127.0.0.1:9/v1", "buckets": "[s3://nowhere/x]"})
    for form in ([], ["--json"]):
        result = vicur("doctor", "--cluster", *arguments, *form)
        assert result.code == 1
        assert [secret for secret in SECRETS if secret in result.output + result.error] == []


def test_unknown_need_is_rejected(vicur: Command) -> None:
    result = vicur("doctor", "--need", "pool.gpu=8")
    assert result.code == 2
    assert "pool.gpu" in result.error
    result = vicur("doctor", "--need", "nonsense")
    assert (result.code, "--need nonsense" in result.error) == (2, True)


def config(cue: str) -> PreflightConfig:
    """Return the needs of a run on two nodes with a cue model."""
    pools = {"gpu_count": 8, "nodes": 2, "node_selector": {"gpu": "h100"}, "queue": "gpu-h100"}
    run = RunConfig.model_validate({"cluster": pools, "checkpoints": "s3://runs/checkpoints"})
    return needs_of(run).model_copy(update={"cue_endpoint": cue, "free_gib": 0.1})


def test_needs_are_derived_from_the_configuration() -> None:
    training = {"teacher": {"type": "checkpoint", "path": "/models/32B"}}
    pools = {"gpu_count": 4, "gpu_type": "amd.com/gpu", "tolerations": [{"key": "gpu", "operator": "Exists"}]}
    values = {"methods": ["opd"], "base": {"path": "/models/8B"}, "training": training, "cluster": pools}
    needs = needs_of(RunConfig.model_validate(values))
    assert needs.models == ("/models/8B", "/models/32B")
    assert (needs.buckets, needs.queue, needs.cue_endpoint) == ((), None, None)
    assert needs.pool is not None
    assert (needs.pool.gpus, needs.pool.resource, needs.pool.tolerations[0].key) == (4, "amd.com/gpu", "gpu")


def test_servers_of_a_job_are_counted_and_those_of_a_step_share_its_gpus() -> None:
    rollout = {"placement": "job", "engine": {"replicas": 2, "tensor_parallel": 2}}
    values = {"methods": ["opsd"], "training": {"rollout": rollout}, "cluster": {"gpu_count": 8, "nodes": 2}}
    needs = needs_of(RunConfig.model_validate(values))
    assert needs.pool is not None
    assert needs.pool.all_gpus == 20
    needs = needs_of(RunConfig.model_validate({**values, "cluster": {"gpu_count": 8}}))
    assert needs.pool is not None
    assert needs.pool.all_gpus == 8


def test_training_without_gpus_needs_no_pool() -> None:
    assert needs_of(RunConfig.model_validate({"cluster": {"gpu_count": 0}})).pool is None


@pytest.mark.parametrize(("gpus", "nodes", "wanted"), [(0, 1, False), (8, 1, False), (0, 2, True), (8, 2, True)])
def test_several_nodes_require_the_trainer_even_without_gpus(gpus: int, nodes: int, wanted: bool) -> None:
    needs = needs_of(RunConfig.model_validate({"cluster": {"gpu_count": gpus, "nodes": nodes}}))
    names = {check.name for check in step_checks(needs, TrackingConfig())}
    assert names & {"trainer", "access"} == ({"trainer", "access"} if wanted else set())


@pytest.mark.usefixtures("s3", "kubernetes")
def test_first_step_passes_with_a_table(server: Server, cue: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = run_preflight(config(cue), TrackingConfig(uri=server.uri))
    assert "| ok | gpu pool | 2 node(s) with gpu=h100 are ready for 8 nvidia.com/gpu each |" in table
    assert "gpu pool" in capsys.readouterr().out


@pytest.mark.usefixtures("s3")
def test_first_step_fails_and_names_the_failed_checks(
    server: Server, cue: str, kubernetes: KubernetesDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    kubernetes.nodes = [node("cpu", gpus=0)]
    with pytest.raises(VicurError, match=r"1 failed: gpu pool\.") as caught:
        run_preflight(config(cue), TrackingConfig(uri=server.uri))
    assert "table above" in caught.value.remedy
    assert "no node has the labels gpu=h100" in capsys.readouterr().out


@pytest.mark.usefixtures("s3", "kubernetes")
def test_first_step_fails_if_runs_are_tracked_in_its_own_pod(
    place: Path, cue: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del place
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(VicurError, match="1 failed: tracking for all"):
        run_preflight(config(cue), TrackingConfig())
    assert "which pods cannot read" in capsys.readouterr().out


@pytest.mark.usefixtures("s3", "kubernetes")
def test_first_step_warns_if_checkpoints_do_not_outlive_the_pod(server: Server, cue: str) -> None:
    table = run_preflight(config(cue).model_copy(update={"buckets": ()}), TrackingConfig(uri=server.uri))
    assert "| warning | buckets | a training whose pod is lost starts from the beginning" in table
