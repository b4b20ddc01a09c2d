"""``vicur doctor`` and the pipeline's first step: what is asked for, what is printed, and the exit status."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.calling import Command, caller
from tests.cluster.preflight.doubles import KubernetesDouble, openai_double, serving
from tests.tracking.server import Server
from vicur.cluster.preflight import needs_of, run_preflight
from vicur.cluster.preflight.selection import step_checks
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


def test_on_a_laptop_without_a_cluster_all_is_well_and_what_a_cluster_needs_is_listed(
    vicur: Command, place: Path
) -> None:
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
    assert "no cluster is named" in result.output
    assert "~/.kube/config" in result.output
    assert "it needs 1 node(s) with 1 nvidia.com/gpu each" in result.output
    assert list(place.iterdir()) == [], "nothing is written by looking"


def test_a_cluster_that_is_asked_for_and_not_there_is_a_failure(vicur: Command) -> None:
    result = vicur("doctor", "--cluster", "--json")
    assert result.code == 1
    found = statuses(result.output)
    assert found["cluster"] == found["gpu pool"] == found["buckets"] == "failed"
    assert found["python"] == "ok"


@pytest.mark.usefixtures("s3", "kubernetes")
def test_with_everything_there_all_is_well_in_under_a_minute(vicur: Command, server: Server, cue: str) -> None:
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
def test_a_folder_that_only_steps_see_is_no_failure_where_a_cluster_is_asked_for(vicur: Command) -> None:
    there = ("--set", "base.path=/models/8B", "--set", "data={type: folder, path: /mnt/questions}", "--json")
    found = statuses(vicur("doctor", "--cluster", *there).output)
    assert (found["model /models/8B"], found["dataset"]) == ("warning", "warning")
    found = statuses(vicur("doctor", *there).output)
    assert (found["model /models/8B"], found["dataset"]) == ("failed", "failed")


def test_no_secret_is_printed_whatever_fails(
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


def test_a_need_that_is_none_is_refused(vicur: Command) -> None:
    result = vicur("doctor", "--need", "pool.gpu=8")
    assert result.code == 2
    assert "pool.gpu" in result.error
    result = vicur("doctor", "--need", "nonsense")
    assert (result.code, "--need nonsense: is not a setting" in result.error) == (2, True)


def config(cue: str) -> PreflightConfig:
    """What a run on two nodes needs, and a cue model."""
    pools = {"gpu_count": 8, "nodes": 2, "node_selector": {"gpu": "h100"}, "queue": "gpu-h100"}
    asked = RunConfig.model_validate({"cluster": pools, "checkpoints": "s3://runs/checkpoints"})
    return needs_of(asked).model_copy(update={"cue_endpoint": cue, "free_gib": 0.1})


def test_what_a_run_needs_is_what_its_configuration_says() -> None:
    training = {"teacher": {"type": "checkpoint", "path": "/models/32B"}}
    pools = {"gpu_count": 4, "gpu_type": "amd.com/gpu", "tolerations": [{"key": "gpu", "operator": "Exists"}]}
    asked = {"methods": ["opd"], "base": {"path": "/models/8B"}, "training": training, "cluster": pools}
    needs = needs_of(RunConfig.model_validate(asked))
    assert needs.models == ("/models/8B", "/models/32B")
    assert (needs.buckets, needs.queue, needs.cue_endpoint) == ((), None, None)
    assert needs.pool is not None
    assert (needs.pool.gpus, needs.pool.resource, needs.pool.tolerations[0].key) == (4, "amd.com/gpu", "gpu")


def test_a_training_on_the_processor_needs_no_pool() -> None:
    assert needs_of(RunConfig.model_validate({"cluster": {"gpu_count": 0}})).pool is None


@pytest.mark.parametrize(("gpus", "nodes", "wanted"), [(0, 1, False), (8, 1, False), (0, 2, True), (8, 2, True)])
def test_several_nodes_need_the_trainer_with_gpus_or_without(gpus: int, nodes: int, wanted: bool) -> None:
    needs = needs_of(RunConfig.model_validate({"cluster": {"gpu_count": gpus, "nodes": nodes}}))
    names = {check.name for check in step_checks(needs, TrackingConfig())}
    assert names & {"trainer", "access"} == ({"trainer", "access"} if wanted else set())


@pytest.mark.usefixtures("s3", "kubernetes")
def test_the_first_step_passes_with_a_table(server: Server, cue: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = run_preflight(config(cue), TrackingConfig(uri=server.uri))
    assert "| ok | gpu pool | 2 node(s) with gpu=h100 are ready for 8 nvidia.com/gpu each |" in table
    assert "gpu pool" in capsys.readouterr().out


@pytest.mark.usefixtures("s3")
def test_the_first_step_fails_with_the_table_and_names_what_failed(
    server: Server, cue: str, kubernetes: KubernetesDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    kubernetes.nodes = []
    with pytest.raises(VicurError, match=r"1 failed: gpu pool\.") as caught:
        run_preflight(config(cue), TrackingConfig(uri=server.uri))
    assert "table above" in caught.value.remedy
    assert "no node carries gpu=h100" in capsys.readouterr().out


@pytest.mark.usefixtures("s3", "kubernetes")
def test_the_first_step_refuses_to_track_a_run_in_its_own_pod(
    place: Path, cue: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del place
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(VicurError, match="1 failed: tracking for all"):
        run_preflight(config(cue), TrackingConfig())
    assert "which pods do not see" in capsys.readouterr().out


@pytest.mark.usefixtures("s3", "kubernetes")
def test_the_first_step_warns_where_no_checkpoint_outlives_a_pod(server: Server, cue: str) -> None:
    table = run_preflight(config(cue).model_copy(update={"buckets": ()}), TrackingConfig(uri=server.uri))
    assert "| warning | buckets | a training that is tried again begins again" in table
